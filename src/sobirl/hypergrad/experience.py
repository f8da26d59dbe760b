"""Trajectories of the follower as the leader sees them."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from sobirl.core.response import Response
from sobirl.mdp import Rollout, SoftMDP
from sobirl.mdp.rollouts import Environments, draw_states, simulate
from sobirl.mdp.traces import discount_weights, return_to_go

# Episodes that do not end by themselves are given up once no more than this share of the discounted
# sums can follow.
GIVE_UP = 1e-3
_FORGETTING = 0.9  # of the mean number of episodes, which changes with the follower


class Streams(eqx.Module):
    """Where environments that go on from batch to batch stand, and what led there.

    Attributes:
        environments: their states.
        weight: the product of the leader's discounts since the episode's first step (N,).
        trace: the discounted eligibility trace of the follower's past (N,).
        episodes: how many episodes began, all batches together, older ones counting less.
        batches: how many batches that were, counted alike.
    """

    environments: Environments
    weight: Float[Array, "*C N"]
    trace: Float[Array, "*C N"]
    episodes: Float[Array, "*C"]
    batches: Float[Array, "*C"]

    @classmethod
    def begin(cls, states: Int[Array, "N"], dtype) -> "Streams":
        """New episodes in the given states."""
        zero = jnp.zeros((), dtype)
        ones = jnp.ones(states.shape, dtype)
        return cls(Environments.at(states, dtype), ones, jnp.zeros_like(ones), zero, zero)

    @classmethod
    def stagger(cls, states: Int[Array, "N"], dtype) -> "Streams":
        """The same, but for all environments except one the first episodes do not count.

        They are given up one after the other. Else episodes that all take the same number of steps
        would for ever begin together: in some batches, and in others none.
        """
        streams = cls.begin(states, dtype)
        begun = jnp.arange(len(states)) > 0
        spent = (GIVE_UP ** (jnp.arange(len(states)) / len(states))).astype(dtype)
        return eqx.tree_at(
            lambda s: (s.weight, s.environments.weight, s.environments.first),
            streams,
            (jnp.where(begun, 0.0, streams.weight), spent, ~begun),
        )

    def count(self, began: Int[Array, ""]) -> "Streams":
        """After a batch in which so many episodes began."""
        return eqx.tree_at(
            lambda s: (s.episodes, s.batches),
            self,
            (_FORGETTING * self.episodes + began, _FORGETTING * self.batches + 1),
        )


class Setting(eqx.Module):
    """What trajectories are sampled in: a follower as the leader sees it.

    Attributes:
        mdp: the follower's soft MDP; methods look at its numbers and simulate, no more.
        response: the follower's response.
        reward: the leader's r_u (S,A).
        discount: the leader's γ_u (S,A).
    """

    mdp: SoftMDP
    response: Response
    reward: Float[Array, "S A"]
    discount: Float[Array, "S A"]

    @property
    def ends(self) -> Bool[Array, "S A"]:
        """Whether an episode ends here: nothing that follows counts, for either level."""
        return (self.discount == 0) & (self.mdp.discount == 0)

    def sample(
        self,
        key: Key[Array, ""],
        streams: Streams,
        rollout_steps: int,
        restart: Float[Array, "S"] | None = None,
        first_action: Int[Array, "N"] | None = None,
    ) -> tuple["Experience", Streams]:
        """A batch from where the streams stand, and where they stand after it.

        Args:
            key: a typed JAX key.
            streams: where the environments stand.
            rollout_steps: T, the steps of every environment.
            restart: where the next episode begins once one has ended (S,), a distribution;
                without, an environment stops there.
            first_action: the first action of every environment (N,); drawn by default.
        """
        key, restart_key = jax.random.split(key)
        shape = (rollout_steps, len(streams.weight))
        restarts = None if restart is None else draw_states(restart_key, restart, shape)
        # A step's weight in either level's sums is at most the product of the larger discounts.
        larger = jnp.maximum(self.mdp.discount, self.discount)
        rollout, environments = simulate(
            eqx.tree_at(lambda m: m.discount, self.mdp, larger),
            self.response.policy,
            key,
            streams.environments,
            rollout_steps,
            self.ends,
            restarts,
            0.0 if restart is None else GIVE_UP,
            first_action,
        )
        discount = self.discount[rollout.state, rollout.action]
        weight = discount_weights(discount, rollout.first, streams.weight)
        trace, streams = streams.trace, streams.count(jnp.sum(rollout.first))
        batch = Experience(
            self.mdp,
            self.response,
            self.reward,
            self.discount,
            rollout=rollout,
            weight=weight * rollout.live,
            trace=trace,
            episodes=streams.episodes / streams.batches,
        )
        return batch, eqx.tree_at(
            lambda s: (s.environments, s.weight),
            streams,
            (environments, weight[:, -1] * discount[:, -1]),
        )


class Experience(Setting):
    """One batch of trajectories and what an estimate may be made of.

    Attributes:
        rollout: trajectories of the response's policy.
        weight: the product of γ_u since the episode's first step, 0 for steps not taken (N,T).
        trace: the eligibility trace that the trajectories begin with (N,).
        episodes: how many episodes began, on average where they go on from batch to batch.
    """

    rollout: Rollout
    weight: Float[Array, "N T"]
    trace: Float[Array, "N"]
    episodes: Float[Array, ""]

    @property
    def transitions(self) -> tuple[Array, Array, Array, Array]:
        """States, actions, next states, and whether the step was taken; each (N,T)."""
        rollout = self.rollout
        return rollout.state, rollout.action, rollout.next_state, rollout.live

    def along(self, table: Float[Array, "S A"]) -> Float[Array, "N T"]:
        """The entries of a table that the trajectories pass."""
        return table[self.rollout.state, self.rollout.action]

    def sums(self, values: Float[Array, "N T"]) -> Float[Array, "S A"]:
        """The sums of values over the visits of every state and action."""
        place = self.rollout.state, self.rollout.action
        return jnp.zeros_like(self.reward).at[place].add(values)

    def leader_return_to_go(self) -> Float[Array, "N T"]:
        """The leader's discounted return from every step on, as far as it was sampled."""
        reward = self.along(self.reward) * self.rollout.live
        return return_to_go(reward, self.along(self.discount), self.rollout.first)
