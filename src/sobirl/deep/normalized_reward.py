"""Learned rewards as critics see them: of a mean and a deviation that do not depend on the fit.

What is learned from comparisons has no scale of its own, and where fragments are equally long no
zero either. An offset of 0.03 a step is worth 0.03/(1 - γ), more than a point seldom made.
"""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from sobirl.deep.follower import ActionFunction
from sobirl.deep.losses import weighted_mean
from sobirl.deep.reward_model import RewardModel

_TINY = 1e-6


class NormalizedReward(eqx.Module):
    """s (r_x(s,a) - m).

    Attributes:
        model: r_x.
        mean: m.
        scale: s.

    Source: Christiano et al. (2017), section 2.2.1.
    """

    model: RewardModel
    mean: Float[Array, ""]
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

    def renewed(
        self,
        deviation: float | Float[Array, ""],
        observation: Num[Array, "B *obs"],
        action: Num[Array, "B *d"],
        weight: Float[Array, "B"],
    ) -> "NormalizedReward":
        """The same model with the m and s that give it mean 0 and a deviation over some steps.

        Args:
            deviation: the standard deviation that is wanted.
            observation: of the steps ...
            action: ... and what was done.
            weight: 0 for steps that do not count.
        """
        reward = self.model(observation, action)
        mean = weighted_mean(reward, weight)
        spread = jnp.sqrt(weighted_mean((reward - mean) ** 2, weight))
        return NormalizedReward(self.model, mean, deviation / jnp.maximum(spread, _TINY))

    def _normalized(self, reward: Float[Array, "B"]) -> Float[Array, "B"]:
        return self.scale * (reward - self.mean)
