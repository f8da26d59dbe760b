"""Acting, learning and evaluating in environments in JAX: one compiled program each."""

import dataclasses
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from sobirl.deep.actor_learner import (
    ActorLearner,
    LearnerState,
    frames_after,
    to_environment,
)
from sobirl.deep.envs.compiled import CompiledEnvironments
from sobirl.deep.envs.spec import EnvSpec
from sobirl.deep.follower import Follower, RewardFunction
from sobirl.deep.trajectories import Trajectories
from sobirl.experience import Fragment, consecutive_fragments, first_frames, next_frames, seen

LoopState = tuple[LearnerState, PyTree]
_STREAMS = 64  # the least number of environments that make fragments side by side


@dataclasses.dataclass(frozen=True)
class CompiledLoop:
    """Environments to learn in and environments to evaluate in, all in JAX.

    Attributes:
        environments: N environments to learn in.
        evaluation: as many as there are episodes in an evaluation.
    """

    environments: CompiledEnvironments
    evaluation: CompiledEnvironments

    @property
    def spec(self) -> EnvSpec:
        """What a learner has to know."""
        return self.environments.spec

    @property
    def can_restore(self) -> bool:
        """Whether a run goes on bit for bit from a saved state."""
        return True

    @property
    def takes_x(self) -> bool:
        """Whether a leader's x acts through the environment."""
        return hasattr(self.environments.environment, "with_x")

    @property
    def log_prob(self) -> Callable | None:
        """log P(s'|s,a,x), if the environment gives it."""
        return getattr(self.environments.environment, "log_prob", None)

    def with_x(self, x: PyTree) -> "CompiledLoop":
        """The loop at a leader's x."""
        if not self.takes_x:
            return self

        def led(some):
            return eqx.tree_at(lambda e: e.environment, some, some.environment.with_x(x))

        return CompiledLoop(led(self.environments), led(self.evaluation))

    def begin(self, learner: ActorLearner, key: Key[Array, ""]) -> LoopState:
        """Learner and environments before the first step."""
        return _begin(learner, self.environments, key)

    def advance(
        self,
        learner: ActorLearner,
        reward: RewardFunction | None,
        state: LoopState,
        num_calls: int,
    ) -> tuple[LoopState, dict[str, Array]]:
        """Some steps of all environments, with what is learned from them.

        Args:
            learner: how to act and learn.
            reward: the learned reward; None for the environments' own.
            state: of learner and environments; its memory is taken over.
            num_calls: how many steps of all environments; a compiled program serves one number.

        Returns:
            the next state, and the sums of what every step reports, see `ActorLearner.absorb`.
        """
        return _advance((learner, self.environments, reward, num_calls), state)

    def evaluate(
        self,
        follower: Follower,
        state: PyTree,
        key: Key[Array, ""],
        most_steps: int,
        greedy: bool = False,
    ) -> Float[Array, "E"]:
        """The true return of one episode in every environment that is there for it.

        Args:
            follower: how its state is read.
            state: what it has learned.
            key: for all that is random.
            most_steps: episodes that are longer count as far as they came.
            greedy: take the most likely action instead of drawing one.
        """
        return _evaluate(follower, state, self.evaluation, key, most_steps, greedy)

    def trajectories(
        self, follower: Follower, state: PyTree, key: Key[Array, ""], steps: int
    ) -> Trajectories:
        """One episode in every environment of the evaluation, cut off after so many steps.

        Args:
            follower: how its state is read.
            state: what it has learned.
            key: for all that is random.
            steps: T.
        """
        return _trajectories(follower, state, self.evaluation, key, steps)

    def fragments(
        self,
        learner: ActorLearner,
        state: LoopState,
        length: int,
        num: int,
        key: Key[Array, ""],
    ) -> Fragment:
        """Fragments that the present policy makes for the purpose (N,M), with M N ≥ num.

        Copies of the environments go on from where these are, at least 64 in all, while nothing is
        learned and nothing kept. What is drawn in one stream does not depend on the others.

        Args:
            learner: how the policy is read, and whether states are kept.
            state: of learner and environments.
            length: steps in a fragment.
            num: how many fragments at least.
            key: for actions and environments.
        """
        copies = math.ceil(_STREAMS / self.environments.num_envs)
        each = math.ceil(num / (copies * self.environments.num_envs))
        return _fragments(learner, self.environments, state, length, copies, each, key)

    def restore(self, state: LoopState) -> LoopState:
        """Go on from a saved state."""
        return state


@eqx.filter_jit
def _begin(learner, environments, key):
    learner_key, environment_key = jax.random.split(key)
    inner, observation = environments.init(environment_key)
    return learner.init(observation, learner_key, inner.inner), inner


@eqx.filter_jit(donate="all-except-first")
def _advance(fixed, state):
    learner, environments, reward, num_calls = fixed

    def body(carry, _):
        state, inner = carry
        key, act_key, step_key, learn_key = jax.random.split(state.key, 4)
        action, log_prob = learner.act(state, act_key)
        outside = to_environment(environments.spec, action)
        after, step = environments.step(inner, outside, step_key)
        state, metrics = learner.absorb(
            state, action, log_prob, step, reward, learn_key, inner.inner
        )
        return (eqx.tree_at(lambda s: s.key, state, key), after), metrics

    state, metrics = jax.lax.scan(body, state, length=num_calls)
    return state, jax.tree.map(lambda column: jnp.sum(column, axis=0), metrics)


@eqx.filter_jit
def _fragments(learner, environments, state, length, copies, each, key):
    follower, replay = learner.follower, learner.replay
    learning, inner = state
    inner, frames, live = jax.tree.map(
        lambda leaf: jnp.repeat(leaf, copies, axis=0), (inner, learning.frames, learning.live)
    )

    def body(carry, key):
        inner, frames, live = carry
        act_key, step_key = jax.random.split(key)
        action, log_prob = follower.act(learning.follower, seen(frames), act_key)
        outside = to_environment(environments.spec, action)
        after, step = environments.step(inner, outside, step_key)
        record = learner.record(frames, action, log_prob, step, live, inner.inner)
        frames = frames_after(frames, live, step.observation)
        live = jnp.logical_not(step.terminated | step.truncated)
        return (after, frames, live), record

    # The frames before the first fragment are made too.
    calls = each * length + replay.frame_stack - 1
    _, records = jax.lax.scan(body, (inner, frames, live), jax.random.split(key, calls))
    records = jax.tree.map(lambda leaf: jnp.swapaxes(leaf[:, :, 0], 0, 1), records)
    return consecutive_fragments(
        records,
        each,
        length,
        first=0,
        count=calls,
        now=learning.vector_steps + calls,
        frame_stack=replay.frame_stack,
    )


@eqx.filter_jit
def _trajectories(follower, learned, environments, key, steps):
    begin_key, *keys = jax.random.split(key, steps + 1)
    inner, observation = environments.init(begin_key)
    frames = first_frames(observation, environments.spec.frame_stack)

    def body(carry, key):
        inner, frames, running = carry
        act_key, step_key = jax.random.split(key)
        action, _ = follower.act(learned, seen(frames), act_key)
        inner, step = environments.step(inner, to_environment(environments.spec, action), step_key)
        after = next_frames(frames, step.observation)
        shown = seen(frames), action, seen(after)
        found = *shown, step.reward, running, step.terminated, step.leader_reward
        return (inner, after, running & ~(step.terminated | step.truncated)), found

    running = jnp.ones(environments.num_envs, bool)
    (_, _, running), found = jax.lax.scan(body, (inner, frames, running), jnp.stack(keys))
    *found, terminated, leader_reward = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), found)
    return Trajectories(*found, ended=~running, leader_reward=leader_reward, terminated=terminated)


@eqx.filter_jit
def _evaluate(follower, learned, environments, key, most_steps, greedy):
    key, begin_key = jax.random.split(key)
    inner, observation = environments.init(begin_key)
    frames = first_frames(observation, environments.spec.frame_stack)

    def goes_on(carry):
        _, _, running, _, count, _ = carry
        return jnp.any(running) & (count < most_steps)

    def body(carry):
        inner, frames, running, returns, count, key = carry
        key, act_key, step_key = jax.random.split(key, 3)
        observation = seen(frames)
        if greedy:
            action = follower.mode(learned, observation)
        else:
            action, _ = follower.act(learned, observation, act_key)
        inner, step = environments.step(inner, to_environment(environments.spec, action), step_key)
        frames = next_frames(frames, step.observation)
        returns = returns + jnp.where(running, step.reward, 0)
        running = running & ~(step.terminated | step.truncated)
        return inner, frames, running, returns, count + 1, key

    running = jnp.ones(environments.num_envs, bool)
    nothing = jnp.zeros(environments.num_envs, jnp.float32)
    carry = inner, frames, running, nothing, jnp.zeros((), jnp.int32), key
    return jax.lax.while_loop(goes_on, body, carry)[3]
