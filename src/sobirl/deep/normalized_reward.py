"""Learned rewards as critics see them: with a zero and a deviation that do not depend on the fit.

What is learned from comparisons has no scale of its own, and where fragments are equally long no
zero either. An offset of 0.03 a step is worth 0.03/(1 - γ), more than a point seldom made.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from sobirl.core.errors import InvalidInputError
from sobirl.deep.follower import ActionFunction
from sobirl.deep.losses import weighted_mean
from sobirl.deep.reward_model import RewardModel

Center: TypeAlias = Literal["median", "mean", "none"]
_TINY = 1e-6


class Normalization(eqx.Module):
    """Which zero and which deviation critics see.

    Args:
        deviation: the standard deviation of the rewards over the steps of the replay.
        center: what becomes 0. "median": the step on which nothing happens, where that is the usual
            one; "mean": the average step, as Christiano et al. have it, for episodes that do not
            end: else a life that is average is worth no more than none; "none": what was fitted as
            0, which comparisons do tell where fragments end with their episodes.

    Raises:
        InvalidInputError: the deviation is not positive, or there is no such center.

    Source: Christiano et al. (2017), section 2.2.1.
    """

    deviation: float
    center: Center = eqx.field(default="median", static=True)

    def __check_init__(self):
        if not self.deviation > 0:
            raise InvalidInputError(f"deviation: must be positive, got {self.deviation}")
        if self.center not in ("median", "mean", "none"):
            raise InvalidInputError(f"center: must be median, mean or none, got {self.center!r}")

    def of(
        self, reward: Float[Array, "B"], weight: Float[Array, "B"]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The zero m and the scale s for some rewards; those with weight 0 do not count."""
        mean = weighted_mean(reward, weight)
        spread = jnp.sqrt(weighted_mean((reward - mean) ** 2, weight))
        scale = self.deviation / jnp.maximum(spread, _TINY)
        if self.center == "none":
            return jnp.zeros_like(mean), scale
        if self.center == "mean":
            return mean, scale
        return jnp.nanmedian(jnp.where(weight > 0, reward, jnp.nan)), scale


class NormalizedReward(eqx.Module):
    """s (r_x(s,a) - m).

    Attributes:
        model: r_x.
        zero: m.
        scale: s.
    """

    model: RewardModel
    zero: Float[Array, ""]
    scale: Float[Array, ""]

    def __call__(
        self, observation: Num[Array, "B *obs"], action: Num[Array, "B *d"]
    ) -> Float[Array, "B"]:
        """The reward of every pair of observation and action."""
        return self._normalized(self.model(observation, action))

    def at(self, observation: Num[Array, "B *obs"]) -> ActionFunction:
        """s (r_x(s,·) - m) as a function of actions alone, for which s is looked at only once."""
        reward: Callable = self.model.at(observation)
        return lambda action: self._normalized(reward(action))

    def _normalized(self, reward: Float[Array, "B"]) -> Float[Array, "B"]:
        return self.scale * (reward - self.zero)
