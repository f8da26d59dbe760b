"""Building thermal control with a tenant who learns: the clipped simulator, in JAX.

The tenant sees the zones' deviations and turns two devices up or down; nobody tells it how the
building exchanges heat. The designer's x is the building: it moves the law of what follows, of
which the environment gives the density, and pays the tenant nothing. `sb.design_incentives` has all
it needs:

    sb.design_incentives(
        Tenant(), designer, incentive=nothing, x0=BuildingThermal().x0(), discount=DISCOUNT, ...
    )

Rewards are in units of 100 and deviations in units of 10, for networks. How the tenant should act
does not depend on how noisy the weather is, and estimates scatter with 1/noise.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from sobirl.deep.envs import Continuous, EnvSpec
from sobirl.problems.building_thermal import (
    DISCOMFORT,
    ENERGY,
    NOISE,
    SPREAD,
    ZONES,
    BuildingThermal,
    Design,
    designer_reward,
    expected_next,
)

UNIT = 100.0  # of rewards, and so of the temperature
_SEEN = 10.0  # of deviations, in what is seen
_MOST = 20.0  # what a device can do
_STEPS = 30  # γ^30 = 0.04
_SPEC = EnvSpec(
    "tenant",
    (ZONES,),
    np.dtype(np.float32),
    Continuous(np.full(2, -_MOST), np.full(2, _MOST)),
    "jax",
    max_episode_steps=_STEPS,
)


class Tenant(eqx.Module):
    """Zones that are heated and cooled.

    Args:
        building: the designer's x, as logits.
        noise: the standard deviation of what the weather adds in a step.
    """

    building: Design = eqx.field(default_factory=lambda: _single(BuildingThermal().x0()))
    noise: float = NOISE
    spec: EnvSpec = eqx.field(static=True, default=_SPEC)

    def with_x(self, x: Design) -> "Tenant":
        """The same tenant in another building."""
        return Tenant(x, self.noise)

    def log_prob(
        self,
        next_observation: Float[Array, "4"],
        observation: Float[Array, "4"],
        action: Float[Array, "2"],
        x: Design,
    ) -> Float[Array, ""]:
        """The log-density of s', but for a constant."""
        ahead = expected_next(x, observation * _SEEN, action)
        return -0.5 * jnp.sum(((next_observation * _SEEN - ahead) / self.noise) ** 2)

    def reset(self, key: Key[Array, ""]) -> tuple[tuple, Float[Array, "4"]]:
        """Zones that nobody has cared for."""
        zones = SPREAD * jax.random.normal(key, (ZONES,), jnp.float32)
        return (zones, jnp.zeros((), jnp.int32)), zones / _SEEN

    def step(
        self,
        state: tuple[Float[Array, "4"], Int[Array, ""]],
        action: Float[Array, "2"],
        key: Key[Array, ""],
    ) -> tuple[Any, ...]:
        """Heat moves, and the weather changes; the time is up after 30 steps."""
        zones, count = state
        luck = self.noise * jax.random.normal(key, (ZONES,), jnp.float32)
        after = jnp.asarray(expected_next(self.building, zones, action) + luck, jnp.float32)
        cost = jnp.sum(jnp.asarray(DISCOMFORT, jnp.float32) * zones**2)
        cost += ENERGY * jnp.sum(action**2)
        state = after, count + 1
        return state, after / _SEEN, -cost / UNIT, jnp.zeros((), bool), count + 1 >= _STEPS


def nothing(
    observation: Float[Array, "4"], action: Float[Array, "2"], x: Design
) -> Float[Array, ""]:
    """What the designer pays the tenant."""
    return jnp.zeros(())


def designer(
    observation: Float[Array, "4"],
    action: Float[Array, "2"],
    next_observation: Float[Array, "4"],
    x: Design,
) -> Float[Array, ""]:
    """The designer's reward."""
    return designer_reward(x, observation * _SEEN, action) / UNIT


def _single(x: Design) -> Design:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), x)
