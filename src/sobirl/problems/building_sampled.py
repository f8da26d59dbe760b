"""The designer of `building_thermal` without moments: hyper-gradients from simulated buildings."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key

from sobirl.core.errors import InvalidInputError
from sobirl.hypergrad.base import ContextProblem, HypergradMethod
from sobirl.hypergrad.methods import Needs
from sobirl.problems.building_thermal import (
    DEVICES,
    DISCOUNT,
    HORIZON,
    NOISE,
    SPREAD,
    ZONES,
    Design,
    Steps,
    designer_reward,
    expected_next,
    price,
    simulate,
    weights,
)
from sobirl.solvers import GaussianResponse

_FEWEST = 4
_PAIRS = np.triu_indices(ZONES + DEVICES.shape[1])


class SampledDesigner(HypergradMethod):
    """The designer's hyper-gradient from N simulated buildings, with the clipping:

        ∇J ≈ 1/N Σ γ^t [∇r_u + d_t[V_u]] + 1/(τN) Σ γ^t E_π[A_u (∇Q - ∇V) | s_t]

    with d_t[V] = γ ∇E[V(s')|s_t,u_t], how the value of what follows moves with the law of s'. For
    quadratic V it is γ ∇V(m_x(s_t,u_t)), m_x the mean of s'. ∇Q(s,u) = d[V] + γ E[∇V(s')|s,u] with
    the controller's V; that and the designer's Q_u solve linear Bellman equations of one matrix.

    All these functions are quadratic in (s,u), the clipping apart. Each half of the buildings fits
    them by least squares temporal differences (LSTD). The two factors of the second sum come from
    different halves, V_u from the half that it is not used on: errors that met would be a bias.

    `scores` has instead, as the paper's formula, the score γ V(s_{t+1}) ∇log P(s_{t+1}|s_t,u_t) as
    d_t[V], the discounted sum of these over the rest of the same trajectory as ∇Q - ∇V, and A_u of
    the action that was taken: right on average as well, and far noisier.

    Args:
        walkers: N, buildings that are simulated side by side for 100 steps; an even number.
        implicit: without the second sum the controller is held fixed: the naive gradient.
        scores: see above.

    Metrics: `objective` (minus the mean simulated return), `environment_steps`, `status`.

    Raises:
        InvalidInputError: an odd number of buildings, or fewer than 4.

    Source: Kudo et al. (2026), BC-HG; the fitted ∇Q is that of Yang, Gao, Yuan (2025), SoBiRL.
    """

    walkers: int = eqx.field(default=100, static=True)
    implicit: bool = eqx.field(default=True, static=True)
    scores: bool = eqx.field(default=False, static=True)

    needs: ClassVar[Needs] = Needs(samples=True)

    def __check_init__(self):
        if self.walkers < _FEWEST or self.walkers % 2:
            raise InvalidInputError(
                f"walkers: must be an even number of at least {_FEWEST}, got {self.walkers}"
            )

    def begin(self, problem: ContextProblem, x: Design, key: Key[Array, ""]) -> None:
        """Nothing is kept."""

    def estimate_one(
        self, problem: ContextProblem, x: Design, state: None, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Design, None, dict[str, Any]]:
        """The estimate at x from N times 100 steps."""
        lower = problem.lower(x)
        response = lower.solve(throw=False)
        steps = simulate(x, response, key, self.walkers)
        reward = designer_reward(x, steps.state, steps.action)
        flat, unflatten = ravel_pytree(x)
        weight = weights()[:, None, None]

        def moves(value):
            """d_t of a value, (100,N,8)."""

            def ahead(flat):
                mean = expected_next(unflatten(flat), steps.state, steps.action)
                if not self.scores:
                    return value(mean)
                off = (steps.next_state - mean) / NOISE
                return value(steps.next_state) * -jnp.sum(off**2, axis=-1) / 2

            return DISCOUNT * jax.jacfwd(ahead)(flat)

        gains = moves(response.value)
        basis = _Basis(response, steps)
        critics = basis.fit(jnp.concatenate([reward[..., None], gains], axis=-1))
        bought = jax.grad(price)(x)
        ahead = moves(lambda s: _each_half(_mean_features(s), critics[..., 0]))
        gradient = jnp.sum(weight * ahead, axis=(0, 1)) / self.walkers
        gradient -= jnp.sum(weights()) * ravel_pytree(bought)[0]
        if self.implicit:
            if self.scores:
                matter = basis.advantage(critics[..., :1]) * _return_to_go(gains)
            else:
                matter = basis.covariance(critics[..., 0], critics[::-1, :, 1:])
            total = jnp.sum(weight * matter, axis=(0, 1))
            gradient += total / (lower.temperature * self.walkers)
        metrics = {
            "environment_steps": jnp.int32(self.walkers * HORIZON),
            "status": response.status_code,
        }
        objective = -jnp.mean(weights() @ reward)
        return objective, unflatten(-gradient), None, metrics


class _Basis:
    """1 and all products of two of (s,z), z how the action differs from its mean, whitened."""

    def __init__(self, response: GaussianResponse, steps: Steps):
        spread = jnp.linalg.cholesky(response.covariance)
        off = steps.action - response.mean(steps.state)
        self.now = _features(steps.state, off @ jnp.linalg.inv(spread).T)
        self.state = steps.state / SPREAD
        self.mean = _mean_features(steps.state)
        self.later = _mean_features(steps.next_state)

    def fit(self, reward: Float[Array, "100 N k"]) -> Float[Array, "2 22 k"]:
        """Coefficients of the action values of k rewards, for either half from the other."""
        now, ahead, reward = (
            jnp.stack(jnp.split(leaf, 2, axis=1))[::-1]
            for leaf in (self.now, self.now - DISCOUNT * self.later, reward)
        )
        moments = jnp.einsum("htni,htnj->hij", now, ahead)
        return jnp.linalg.solve(moments, jnp.einsum("htni,htnk->hik", now, reward))

    def advantage(self, critics: Float[Array, "2 22 k"]) -> Float[Array, "100 N k"]:
        """Q - E_π Q along the trajectories."""
        return _each_half(self.now - self.mean, critics)

    def covariance(
        self, one: Float[Array, "2 22"], others: Float[Array, "2 22 k"]
    ) -> Float[Array, "100 N k"]:
        """E_π[A_0 A_j | s_t] of one advantage with k others."""
        first, second = _PAIRS
        critics = jnp.concatenate([one[..., None], others], axis=-1)[:, 1:]
        # A = (s'C)z + z'Dz - tr D, and E (z'Dz - tr D)(z'D'z - tr D') = 2 tr D D'.
        C = critics[:, (first < ZONES) & (second >= ZONES)]
        tilt = _each_half(self.state, C.reshape(2, ZONES, -1))
        tilt = tilt.reshape(*tilt.shape[:2], -1, critics.shape[-1])
        D = critics[:, first >= ZONES]
        double = np.where(first == second, 2.0, 1.0)[first >= ZONES]
        curved = jnp.einsum("hi,hik,i->hk", D[..., 0], D[..., 1:], double)
        curved = jnp.repeat(curved, self.state.shape[1] // 2, axis=0)
        return jnp.sum(tilt[..., :1] * tilt[..., 1:], axis=2) + curved


def _each_half(
    features: Float[Array, "100 N n"], critics: Float[Array, "2 n *k"]
) -> Float[Array, "100 N *k"]:
    """Values of either half by the critics that are for it."""
    halves = zip(jnp.split(features, 2, axis=1), critics, strict=True)
    return jnp.concatenate([half @ critic for half, critic in halves], axis=1)


def _features(state: Float[Array, "*N 4"], noise: Float[Array, "*N 2"]) -> Float[Array, "*N 22"]:
    both = jnp.concatenate([state / SPREAD, noise], axis=-1)
    first, second = _PAIRS
    one = jnp.ones((*both.shape[:-1], 1))
    return jnp.concatenate([one, both[..., first] * both[..., second]], axis=-1)


def _mean_features(state: Float[Array, "*N 4"]) -> Float[Array, "*N 22"]:
    """Their mean over the action: noise has mean 0 and covariance 1."""
    none = jnp.zeros((*state.shape[:-1], 2))
    first, second = _PAIRS
    squares = np.r_[0.0, (first == second) & (first >= ZONES)]
    return _features(state, none) + squares


def _return_to_go(reward: Float[Array, "100 N k"]) -> Float[Array, "100 N k"]:
    """G_t = r_t + γ G_{t+1}."""

    def step(total, reward):
        total = reward + DISCOUNT * total
        return total, total

    return jax.lax.scan(step, jnp.zeros_like(reward[0]), reward, reverse=True)[1]
