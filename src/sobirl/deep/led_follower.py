"""A follower that learns on what a leader offers, and beside it what that is worth to the leader.

To loops and learners it is a follower like any other; its state has the leader's critics too, which
learn from the same batches.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Num, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.deep.follower import ActionFunction
from sobirl.deep.leader_critic import CriticState, LeaderCritic
from sobirl.deep.reward_model import RewardModel
from sobirl.experience.replay import Transitions


class LedState(eqx.Module):
    """What the follower has learned, and what the leader's critics have.

    Attributes:
        follower: learns on.
        critic: likewise.
        mean: of the follower and the leader's critics over the latest updates, if one is kept.
    """

    follower: PyTree
    critic: CriticState
    mean: tuple[PyTree, RewardModel] | None = None

    @property
    def steady(self) -> tuple[PyTree, RewardModel]:
        """What estimates are made with: the mean, or what was learned last."""
        return (self.follower, self.critic.model) if self.mean is None else self.mean


class LedFollower(eqx.Module):
    """A follower whose reward is r(s,a) + c i_x(s,a), with an `Offer` for a reward.

    Args:
        follower: any follower; it sees the sum as the environment's own reward.
        critic: the leader's.
        averaged: updates over which a mean of all networks is kept, each weighing 1/averaged and
            what was before it that much less (Polyak); 1 for none.

    Raises:
        InvalidInputError: `averaged` is below 1.
    """

    follower: Any
    critic: LeaderCritic
    averaged: int = eqx.field(default=1, static=True)

    def __check_init__(self):
        if self.averaged < 1:
            raise InvalidInputError(f"averaged: must be at least 1, got {self.averaged}")

    @property
    def discount(self) -> float | Float[Array, ""]:
        """γ."""
        return self.follower.discount

    @property
    def keeps_entropy(self) -> bool:
        """Whether τ is adjusted."""
        return self.follower.keeps_entropy

    def init(self, key: Key[Array, ""]) -> LedState:
        """Before the first update."""
        follower_key, critic_key = jax.random.split(key)
        return self._fresh(self.follower.init(follower_key), self.critic.init(critic_key))

    def update(
        self, state: LedState, batch: Transitions, reward: Any, key: Key[Array, ""]
    ) -> tuple[LedState, dict[str, Float[Array, ""]]]:
        """One update of the follower on an `Offer`, and one of the leader's critics."""
        follower_key, critic_key = jax.random.split(key)
        paid = batch.reward + reward(batch.observation, batch.action)
        offered = eqx.tree_at(lambda b: b.reward, batch, paid)
        follower, metrics = self.follower.update(state.follower, offered, None, follower_key)
        worth = reward.worth(batch)
        critic, told = self.critic.update(
            state.critic, batch, worth, self.follower, follower, critic_key
        )
        mean = state.mean
        if mean is not None:
            mean = _towards(mean, (follower, critic.model), 1 / self.averaged)
        return LedState(follower, critic, mean), {**metrics, **told}

    def act(
        self, state: LedState, observation: Num[Array, "B *obs"], key: Key[Array, ""]
    ) -> tuple[Num[Array, "B *d"], Float[Array, "B"]]:
        """Actions drawn from the policy, and their log-probabilities."""
        return self.follower.act(state.follower, observation, key)

    def mode(self, state: LedState, observation: Num[Array, "B *obs"]) -> Num[Array, "B *d"]:
        """The most likely actions."""
        return self.follower.mode(state.follower, observation)

    def random_action(
        self, count: int, key: Key[Array, ""]
    ) -> tuple[Num[Array, "B *d"], Float[Array, "B"]]:
        """Uniformly random actions, and their log-probabilities."""
        return self.follower.random_action(count, key)

    def log_prob(
        self, state: LedState, observation: Num[Array, "B *obs"], action: Num[Array, "B *d"]
    ) -> Float[Array, "B"]:
        """log π(a|s)."""
        return self.follower.log_prob(state.follower, observation, action)

    def expectation(
        self,
        state: LedState,
        observation: Num[Array, "B *obs"],
        function: ActionFunction,
        key: Key[Array, ""],
        samples: int = 1,
    ) -> Float[Array, "B"]:
        """E_{a ~ π(·|s)} f(a)."""
        return self.follower.expectation(state.follower, observation, function, key, samples)

    def seen(self, reward: Float[Array, "B"]) -> Float[Array, "B"]:
        """Rewards as the critics see them."""
        return self.follower.seen(reward)

    def temperature_of(self, state: LedState) -> Float[Array, ""]:
        """τ as it is now."""
        return self.follower.temperature_of(state.follower)

    def with_temperature(self, state: LedState, temperature: Float[Array, ""]) -> LedState:
        """The state with another τ."""
        changed = self.follower.with_temperature(state.follower, temperature)
        mean = state.mean
        if mean is not None:
            mean = self.follower.with_temperature(mean[0], temperature), mean[1]
        return LedState(changed, state.critic, mean)

    def forget_values(self, state: LedState, key: Key[Array, ""]) -> LedState:
        """Ready for another offer: fresh critics of both."""
        follower_key, critic_key = jax.random.split(key)
        forgotten = self.follower.forget_values(state.follower, follower_key)
        return self._fresh(forgotten, self.critic.init(critic_key))

    def _fresh(self, follower: PyTree, critic: CriticState) -> LedState:
        if self.averaged == 1:
            return LedState(follower, critic)
        # Memory of its own, to be given away.
        return LedState(follower, critic, jax.tree.map(jnp.copy, (follower, critic.model)))


def _towards(mean: PyTree, latest: PyTree, share: float) -> PyTree:
    """The mean moved by a share of the way; counts are those of the latest."""

    def moved(old, new):
        return old + share * (new - old) if eqx.is_inexact_array(new) else new

    return jax.tree.map(moved, mean, latest)
