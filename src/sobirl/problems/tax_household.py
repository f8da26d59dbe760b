"""Tax design with a household that learns: the continuous simulator as an environment in JAX.

The household sees its assets and its type, and chooses among all 1,250 pairs of hours and basket;
nobody tells it how assets move or what goods are worth. What goods are worth at the present taxes
is `utility`, the incentive of the leader's; the income tax moves the assets, of which the
environment gives the density. `sb.design_incentives` has all it needs:

    sb.design_incentives(
        Household(), welfare, incentive=utility, x0=TaxDesign().x0(), discount=DISCOUNT, ...
    )
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from sobirl.deep.envs import Discrete, EnvSpec
from sobirl.problems.tax_design import (
    BASKETS,
    EFFORT,
    HOURS,
    LIMIT,
    NOISE,
    TYPES,
    TaxDesign,
    Taxes,
    asset_utility,
    basket_utility,
    basket_welfare,
    tax,
)

_UNIT = 20.0  # of assets, in what is seen
_SPEC = EnvSpec(
    "household", (1 + len(TYPES),), np.dtype(np.float32), Discrete(len(HOURS) * len(BASKETS)), "jax"
)


class Household(eqx.Module):
    """Assets and type of a household; its reward but for the goods.

    Attributes:
        taxes: the leader's x, as logits.
    """

    taxes: Taxes = eqx.field(default_factory=lambda: _single(TaxDesign().x0()))
    spec: EnvSpec = eqx.field(static=True, default=_SPEC)

    def with_x(self, x: Taxes) -> "Household":
        """The same household at other taxes."""
        return Household(x)

    def log_prob(
        self,
        next_observation: Float[Array, "3"],
        observation: Float[Array, "3"],
        action: Int[Array, ""],
        x: Taxes,
    ) -> Float[Array, ""]:
        """The log-density of s', but for a constant; that it is cut at ±100 is left out."""
        ahead = _expected(observation[0] * _UNIT, action, x)
        return -0.5 * ((next_observation[0] * _UNIT - ahead) / NOISE) ** 2

    def reset(self, key: Key[Array, ""]) -> tuple[tuple, Float[Array, "3"]]:
        """Little or no assets, and either type."""
        luck, drawn = jax.random.split(key)
        assets = jnp.sqrt(2.0) * jax.random.normal(luck, ())
        state = assets, jax.random.randint(drawn, (), 0, len(TYPES), jnp.int32)
        return state, _seen(*state)

    def step(self, state: tuple, action: Int[Array, ""], key: Key[Array, ""]) -> tuple[Any, ...]:
        """A period of work and shopping; it never ends."""
        assets, kind = state
        reward = asset_utility(assets, 1.0) - EFFORT * jnp.asarray(HOURS.copy())[_hour(action)] ** 2
        ahead = _expected(assets, action, self.taxes)
        low, high = (jnp.asarray(bound - ahead) / NOISE for bound in (-LIMIT, LIMIT))
        after = ahead + NOISE * jax.random.truncated_normal(key, low, high)
        after = jnp.asarray(jnp.clip(after, -LIMIT, LIMIT), jnp.float32)
        never = jnp.zeros((), bool)
        return (after, kind), _seen(after, kind), reward, never, never


def utility(observation: Float[Array, "3"], action: Int[Array, ""], x: Taxes) -> Float[Array, ""]:
    """What a household makes of its basket."""
    preferences = observation[1:] @ jnp.asarray(TYPES)
    return basket_utility(x, preferences)[action % len(BASKETS)]


def welfare(
    observation: Float[Array, "3"],
    action: Int[Array, ""],
    next_observation: Float[Array, "3"],
    x: Taxes,
) -> Float[Array, ""]:
    """The state's reward."""
    own = basket_welfare(x)[_hour(action), 0, action % len(BASKETS)]
    return asset_utility(observation[0] * _UNIT, 0.0) + own


def _single(x: Taxes) -> Taxes:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), x)


def _hour(action):
    return action // len(BASKETS)


def _expected(assets, action, x: Taxes):
    """m."""
    earned = (1 - tax(x["income"])) * jnp.asarray(HOURS.copy())[_hour(action)]
    spent = jnp.asarray(BASKETS.sum(1))[action % len(BASKETS)]
    return jnp.clip(assets + earned - spent, -LIMIT, LIMIT)


def _seen(assets, kind):
    shown = jax.nn.one_hot(kind, len(TYPES), dtype=jnp.float32)
    return jnp.concatenate([jnp.asarray(assets / _UNIT, jnp.float32)[None], shown])
