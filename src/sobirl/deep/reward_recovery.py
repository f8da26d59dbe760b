"""Inverse reinforcement learning with a follower that goes on learning: one reward step a round.

A round lets the follower act and learn on the present reward; then trajectories of its policy, set
against the demonstrations, give the gradient, and the reward takes a step.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.deep.actor_learner import ActorLearner
from sobirl.deep.follower import FollowerView
from sobirl.deep.leaders.demonstration_likelihood import (
    DemonstrationLikelihood,
    DemonstrationState,
)
from sobirl.deep.reward_model import RewardModel
from sobirl.deep.trajectories import Trajectories


class RecoveryState(eqx.Module):
    """Everything that the next round depends on.

    Attributes:
        loop: of the follower, its replay and the environments.
        reward: r_x.
        optimizer: of x.
        step: how many rounds were done.
        key: for trajectories.
    """

    loop: PyTree
    reward: RewardModel
    optimizer: PyTree
    step: Int[Array, ""]
    key: Key[Array, ""]


@dataclasses.dataclass(frozen=True, eq=False)
class RewardRecovery:
    """How a reward is learned from demonstrations.

    Attributes:
        loop: the environments, a `CompiledLoop` or a `HostLoop`; the policy's trajectories are
            episodes of those for the evaluation.
        learner: the follower, which never sees the environment's reward.
        leader: the likelihood.
        reward: r_x before the first step.
        demonstrations: whole episodes, cut off after the same number of steps.
        optimizer: of the steps of x, which descend.
        calls: steps of all environments in a round.

    Raises:
        InvalidInputError: a count below 1, or a follower that adjusts its temperature.
    """

    loop: Any
    learner: ActorLearner
    leader: DemonstrationLikelihood
    reward: RewardModel
    demonstrations: Trajectories
    optimizer: optax.GradientTransformation
    calls: int = 100

    def __post_init__(self):
        if self.calls < 1:
            raise InvalidInputError(f"calls: must be at least 1, got {self.calls}")
        if self.learner.follower.keeps_entropy:
            raise InvalidInputError(
                "temperature: must be a number; adjusted, it would leave rewards without a scale"
            )

    def init(self, key: Key[Array, ""]) -> RecoveryState:
        """Before the first round."""
        key, loop_key = jax.random.split(key)
        loop = self.loop.begin(self.learner, loop_key)
        numbers = eqx.filter(self.reward, eqx.is_inexact_array)
        zero = jnp.zeros((), jnp.int32)
        return RecoveryState(loop, self.reward, self.optimizer.init(numbers), zero, key)

    def round(self, state: RecoveryState) -> tuple[RecoveryState, dict[str, float]]:
        """One round.

        Returns:
            the next state, and metrics: those of the leader, `true_return` of the policy's
            trajectories by the environment's own reward (which is only looked at), and how the
            follower learns.
        """
        key, made_key, estimate_key = jax.random.split(state.key, 3)
        loop, sums = self.loop.advance(self.learner, state.reward, state.loop, self.calls)
        learner = loop[0]
        steps = self.demonstrations.mask.shape[1]
        follower = self.learner.follower
        made = self.loop.trajectories(follower, learner.follower, made_key, steps)
        view = FollowerView(follower, learner.follower, learner.steps, learner.vector_steps)
        known = DemonstrationState(state.reward, self.demonstrations)
        reward, optimizer, told = state.reward, state.optimizer, {}
        if int(learner.steps) >= self.learner.random_steps:
            reward, optimizer, told = _step(
                (self.leader, self.optimizer), known, view, made, optimizer, estimate_key
            )
        returns = jnp.sum(jnp.where(made.mask, made.reward, 0), axis=1)
        updates = max(int(sums["updates"]), 1)
        left_out = ("episodes", "returns", "lengths", "updates")
        metrics = {name: float(v) / updates for name, v in sums.items() if name not in left_out}
        metrics |= {name: float(v) for name, v in told.items()}
        metrics |= {
            "environment_steps": float(learner.steps),
            "true_return": float(jnp.mean(returns)),
        }
        return RecoveryState(loop, reward, optimizer, state.step + 1, key), metrics


@eqx.filter_jit
def _step(fixed, known, view, made, optimizer, key):
    leader, descent = fixed
    explicit, implicit, told = leader.terms(known, view, made, key)
    gradient = jax.tree.map(jnp.add, explicit, implicit)
    numbers = eqx.filter(known.reward, eqx.is_inexact_array)
    updates, optimizer = descent.update(gradient, optimizer, numbers)
    return eqx.apply_updates(known.reward, updates), optimizer, told
