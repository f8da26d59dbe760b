"""Building thermal control: insulation and coupling of zones, for a controller that responds.

Four zones stand in a ring; s has their deviations from the temperature that is wanted. A designer
sets the zones' insulation α and the coupling β of neighbors, and a controller then heats and cools
with two devices:

    s' = clip(A s + B u, ±30) + 0.02 ε,   A_ij = A0_ij β_(ij) between neighbors,
    A_ii = A0_ii + e_i (1 - α_i) - Σ_j A0_ij β_(ij)

    controller  r(s,u) = -s' diag(8, 1, 5, 6) s - 0.01 |u|²,  temperature τ, γ = 0.9
    designer    r_u(s,u) = -var(s) - 0.5 |u|² - 0.1 |α|² - 0.1 |β|²,  100 steps, γ_u = 0.9

with s_0 ~ N(0, 25 I) and var the population variance over zones. The controller is an
`EntropyLQR`: u is normal, and without the clipping so is s_t, so that moments give the designer's
return exactly. `simulate` clips.

Source: Kudo et al. (2026), BC-HG, and their public code.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from sobirl.bilevel import BilevelProblem
from sobirl.core.checks import check_number
from sobirl.solvers import EntropyLQR, GaussianResponse

EXCHANGE = np.array(
    [[1, 0.05, 0, 0.05], [0.03, 1, 0.04, 0], [0, 0.04, 1, 0.06], [0.05, 0, 0.03, 1]]
)
LOSS = np.array([0.04, 0.03, 0.06, 0.05])  # e
DEVICES = np.array([[0.1, 0], [0.6, 0], [0, 0.55], [0, 0.3]])
DISCOMFORT = np.array([8.0, 1, 5, 6])
ENERGY = 0.01
ZONES = len(EXCHANGE)
DISCOUNT = 0.9
HORIZON = 100
SPREAD = 5.0
NOISE = 0.02
LIMIT = 30.0

# The designer's return after 2,000 outer iterations of 10,000 steps, read off the figures.
PUBLISHED = {
    "BC-HG": -196.8,
    "naive": -211.8,
    "HPGD (TD)": -237.8,
    "HPGD (MC)": -261.9,
}

_NEIGHBORS = [(zone, (zone + 1) % ZONES) for zone in range(ZONES)]
_ENERGY_WEIGHT, _BUILDING_WEIGHT = 0.5, 0.1

Design = dict[str, Any]  # {"insulation": (4,), "coupling": (4,)}, as logits


@dataclasses.dataclass(frozen=True)
class BuildingThermal:
    """An instance; x is {"insulation": (4,), "coupling": (4,)}, of which α and β are σ(x).

    Args:
        temperature: the controller's entropy weight τ.

    Raises:
        InvalidInputError: a temperature that is not positive.
    """

    temperature: float = 0.1

    def __post_init__(self):
        check_number("temperature", self.temperature, "must be positive", lambda t: t > 0)

    def problem(self) -> BilevelProblem:
        """The bilevel problem."""
        return BilevelProblem(self.building.follower, self.building.objective)

    def x0(self) -> Design:
        """α = β = 1/2."""
        return {"insulation": jnp.zeros(ZONES), "coupling": jnp.zeros(ZONES)}

    @functools.cached_property
    def building(self) -> "Building":
        """Controller and designer with these constants."""
        return Building(jnp.asarray(self.temperature, float))


class Building(eqx.Module):
    """Controller and designer."""

    temperature: Float[Array, ""]

    def follower(self, x: Design) -> EntropyLQR:
        """The controller's problem."""
        return EntropyLQR(
            A=exchange(x),
            B=DEVICES,
            Q=np.diag(DISCOMFORT),
            R=ENERGY * np.eye(2),
            discount=DISCOUNT,
            temperature=self.temperature,
            noise=NOISE**2 * np.eye(ZONES),
        )

    def objective(self, x: Design, response: GaussianResponse) -> Float[Array, ""]:
        """Minus the designer's return, without the clipping."""
        unevenness, energy = self.course(x, response)
        costs = unevenness + _ENERGY_WEIGHT * energy + price(x)
        return jnp.sum(weights() * costs)

    def course(
        self, x: Design, response: GaussianResponse
    ) -> tuple[Float[Array, "100"], Float[Array, "100"]]:
        """E var(s_t) and E |u_t|²; without the clipping, exact."""
        first = SPREAD**2 * jnp.eye(ZONES)
        _, second = self.follower(x).moments(response, jnp.zeros(ZONES), first, HORIZON)
        K = response.gain
        variance = (np.eye(ZONES) - 1 / ZONES) / ZONES
        energy = jnp.einsum("tij,ij->t", second, K.T @ K) + jnp.trace(response.covariance)
        return jnp.einsum("tij,ij->t", second, variance), energy


def rates(x: Design) -> Design:
    """α and β: the σ of x."""
    return jax.tree.map(jax.nn.sigmoid, x)


def exchange(x: Design) -> Float[Array, "4 4"]:
    """A at x."""
    at = rates(x)
    zone, neighbor = np.array(_NEIGHBORS).T
    coupling = jnp.zeros((ZONES, ZONES))
    coupling = coupling.at[zone, neighbor].set(at["coupling"])
    coupling = coupling.at[neighbor, zone].set(at["coupling"])
    between = (EXCHANGE - np.diag(np.diag(EXCHANGE))) * coupling
    stays = jnp.diag(EXCHANGE) + LOSS * (1 - at["insulation"]) - between.sum(1)
    return jnp.asarray(between) + jnp.diag(stays)


def price(x: Design) -> Float[Array, ""]:
    """0.1 |α|² + 0.1 |β|²."""
    at = rates(x)
    return _BUILDING_WEIGHT * (jnp.sum(at["insulation"] ** 2) + jnp.sum(at["coupling"] ** 2))


def weights() -> Float[Array, "100"]:
    """γ_u^t."""
    return DISCOUNT ** jnp.arange(HORIZON)


def designer_reward(
    x: Design, state: Float[Array, "*N 4"], action: Float[Array, "*N 2"]
) -> Float[Array, "*N"]:
    """r_u(s,u)."""
    energy = _ENERGY_WEIGHT * jnp.sum(action**2, axis=-1)
    return -jnp.var(state, axis=-1) - energy - price(x)


def expected_next(
    x: Design, state: Float[Array, "*N 4"], action: Float[Array, "*N 2"]
) -> Float[Array, "*N 4"]:
    """The mean of s': clip(A s + B u, ±30)."""
    return jnp.clip(state @ exchange(x).T + action @ DEVICES.T, -LIMIT, LIMIT)


class Steps(NamedTuple):
    """What N simulated buildings went through."""

    state: Float[Array, "100 N 4"]
    action: Float[Array, "100 N 2"]
    next_state: Float[Array, "100 N 4"]


def simulate(x: Design, response: GaussianResponse, key: Key[Array, ""], walkers: int) -> Steps:
    """100 steps of N buildings, with the clipping.

    Args:
        x: the design.
        response: the controller's policy.
        key: a typed JAX key.
        walkers: N.
    """
    first, key = jax.random.split(key)
    start = SPREAD * jax.random.normal(first, (walkers, ZONES))

    def step(state, key):
        act, luck = jax.random.split(key)
        action = response.sample(act, state)
        after = expected_next(x, state, action) + NOISE * jax.random.normal(luck, state.shape)
        return after, Steps(state, action, after)

    return jax.lax.scan(step, start, jax.random.split(key, HORIZON))[1]


@eqx.filter_jit
def simulated_returns(
    x: Design, response: GaussianResponse, key: Key[Array, ""], walkers: int
) -> Float[Array, "N"]:
    """The designer's return of N simulated buildings."""
    steps = simulate(x, response, key, walkers)
    return weights() @ designer_reward(x, steps.state, steps.action)
