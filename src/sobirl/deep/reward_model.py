"""The leader's parameters: a reward network, or an ensemble of them."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Num

from sobirl.deep.discrete_policy import taken
from sobirl.deep.follower import ActionFunction
from sobirl.deep.networks import Architecture, Ensemble, Network


class RewardModel(eqx.Module):
    """r_x(s,a), the mean of an ensemble.

    With discrete actions a network has one output an action, so that expectations under a policy
    cost nothing; with continuous ones the action is an input.

    Args:
        shape: of an observation, its frames stacked.
        key: for the first weights.
        num_actions: A, for discrete actions ...
        action_size: ... or d, for continuous ones.
        members: the networks in the ensemble.
        bound: rewards lie within ± this (a tanh); None leaves them free.
        architecture: of the networks; the usual one for the shape by default.
    """

    ensemble: Ensemble
    bound: float | None = eqx.field(static=True)
    discrete: bool = eqx.field(static=True)

    def __init__(
        self,
        shape: tuple[int, ...],
        key: Key[Array, ""],
        num_actions: int | None = None,
        action_size: int | None = None,
        members: int = 1,
        bound: float | None = None,
        architecture: Architecture | None = None,
    ):
        self.discrete, self.bound = num_actions is not None, bound
        outputs, extras = (1, action_size) if num_actions is None else (num_actions, 0)
        assert extras is not None  # one of the two is given
        self.ensemble = Ensemble(
            members, lambda key: Network(shape, outputs, key, architecture, extras), key
        )

    def __call__(
        self, observation: Num[Array, "B *obs"], action: Num[Array, "B *d"]
    ) -> Float[Array, "B"]:
        """The reward of every pair of observation and action."""
        return jnp.mean(self.members(observation, action), axis=0)

    def members(
        self,
        observation: Num[Array, "B *obs"],
        action: Num[Array, "B *d"],
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "K B"]:
        """What every member says; with a key, dropout is active."""
        return self.trained(observation, action, key)[0]

    def trained(
        self,
        observation: Num[Array, "B *obs"],
        action: Num[Array, "B *d"],
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "K B"], "RewardModel"]:
        """What every member says, and the model with moved statistics, see `Network.trained`."""
        extra = None if self.discrete else action
        outputs, ensemble = self.ensemble.trained(observation, extra, key)
        says = self._bounded(outputs)
        says = taken(says, action) if self.discrete else says[..., 0]
        return says, eqx.tree_at(lambda model: model.ensemble, self, ensemble)

    def table(
        self, observation: Num[Array, "B *obs"], key: Key[Array, ""] | None = None
    ) -> Float[Array, "K B A"]:
        """What every member says of every discrete action."""
        return self._bounded(self.ensemble(observation, key=key))

    def at(
        self, observation: Num[Array, "B *obs"], key: Key[Array, ""] | None = None
    ) -> ActionFunction:
        """r_x(s,·) as a function of actions alone, for which s is looked at only once.

        With a key, dropout is active.
        """
        if self.discrete:
            mean = jnp.mean(self.table(observation, key), axis=0)
            return lambda action: taken(mean, action)
        return lambda action: jnp.mean(self.members(observation, action, key), axis=0)

    def _bounded(self, reward: Float[Array, "..."]) -> Float[Array, "..."]:
        return reward if self.bound is None else self.bound * jnp.tanh(reward)
