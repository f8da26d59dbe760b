"""Acting, learning and evaluating in environments on the host, one compiled call a step."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Num, PyTree

from sobirl.deep.actor_learner import ActorLearner, LearnerState, to_environment
from sobirl.deep.envs.host import HostEnvironments
from sobirl.deep.envs.spec import EnvSpec, Step
from sobirl.deep.follower import Follower, RewardFunction
from sobirl.deep.trajectories import Trajectories
from sobirl.experience import Fragment, consecutive_fragments, first_frames, next_frames, seen


@dataclasses.dataclass(frozen=True)
class HostLoop:
    """Environments to learn in and environments to evaluate in, on the host.

    Attributes:
        environments: N environments to learn in. They are the run's alone: what they went through
            is kept by themselves.
        evaluation: as many as there are episodes in an evaluation.
    """

    environments: HostEnvironments
    evaluation: HostEnvironments

    @property
    def spec(self) -> EnvSpec:
        """What a learner has to know."""
        return self.environments.spec

    @property
    def can_restore(self) -> bool:
        """Whether a run goes on bit for bit from a saved state."""
        return self.environments.can_restore

    @property
    def takes_x(self) -> bool:
        """Whether a leader's x acts through the environment."""
        return self.environments.own("set_x") is not None

    @property
    def log_prob(self) -> Callable | None:
        """log P(s'|s,a,x), if the environment gives it."""
        return self.environments.own("log_prob")

    def with_x(self, x: PyTree) -> "HostLoop":
        """The loop at a leader's x."""
        if self.takes_x:
            for some in (self.environments, self.evaluation):
                some.call("set_x", jax.tree.map(np.asarray, x))
        return self

    def begin(self, learner: ActorLearner, key: Key[Array, ""]) -> tuple[LearnerState, PyTree]:
        """Learner and environments before the first step."""
        learner_key, environment_key = jax.random.split(key)
        observation = self.environments.reset(seed_of(environment_key))
        return _begin(learner, jnp.asarray(observation), learner_key), self._kept()

    def advance(
        self,
        learner: ActorLearner,
        reward: RewardFunction | None,
        state: tuple[LearnerState, PyTree],
        num_calls: int,
    ) -> tuple[tuple[LearnerState, PyTree], dict[str, Array]]:
        """Some steps of all environments, with what is learned from them.

        See `CompiledLoop.advance`.
        """
        fixed = (learner, self.spec, reward)
        learning, action, log_prob, outside = _first_action(fixed, state[0])
        programs = _Programs(fixed, (learning, action, log_prob))
        follower, rest = programs.split(learning, action, log_prob)
        metrics: list[dict[str, Array]] = []
        for _ in range(num_calls):
            step = self.environments.step(np.asarray(outside))
            rest, outside, key, episodes = programs.act(rest, follower, *step)
            # This goes on while the environments take their next step.
            follower, learned = programs.learn(follower, rest, key)
            metrics.append({**episodes, **learned})
        learning, _, _ = programs.combine(follower, rest)
        sums = {name: jnp.asarray(sum(float(row[name]) for row in metrics)) for name in metrics[0]}
        return (learning, self._kept()), sums

    def evaluate(
        self,
        follower: Follower,
        state: PyTree,
        key: Key[Array, ""],
        most_steps: int,
        greedy: bool = False,
    ) -> Float[np.ndarray, "E"]:
        """The true return of one episode in every environment that is there for it.

        See `CompiledLoop.evaluate`.
        """
        environments = self.evaluation
        act = acting(follower, self.spec, state, greedy)
        key, reset_key = jax.random.split(key)
        observation = environments.reset(seed_of(reset_key))
        frames = first_frames(observation, self.spec.frame_stack)
        running = np.ones(environments.num_envs, bool)
        returns = np.zeros(environments.num_envs, np.float32)
        for _ in range(most_steps):
            key, act_key = jax.random.split(key)
            step = environments.step(np.asarray(act(frames, act_key)))
            frames = next_frames(frames, step.observation)
            returns += np.where(running, step.reward, 0)
            running &= ~(step.terminated | step.truncated)
            if not running.any():
                break
        return returns

    def trajectories(
        self, follower: Follower, state: PyTree, key: Key[Array, ""], steps: int
    ) -> Trajectories:
        """One episode in every environment of the evaluation, cut off after so many steps.

        See `CompiledLoop.trajectories`.
        """
        environments = self.evaluation
        act = acting_freely(follower, self.spec, state)
        key, reset_key = jax.random.split(key)
        observation = environments.reset(seed_of(reset_key))
        frames = first_frames(observation, self.spec.frame_stack)
        running = np.ones(environments.num_envs, bool)
        rows = []
        for _ in range(steps):
            key, act_key = jax.random.split(key)
            action, outside = act(frames, act_key)
            step = environments.step(np.asarray(outside))
            after = next_frames(frames, step.observation)
            before, following = (np.asarray(seen(some)) for some in (frames, after))
            shown = before, np.asarray(action), following
            rows.append((*shown, step.reward, running, step.terminated, step.leader_reward))
            frames = after
            running = running & ~(step.terminated | step.truncated)
            if not running.any():
                break
        *columns, terminated, leader_reward = zip(*rows, strict=True)
        found = [_padded(np.stack(column, axis=1), steps) for column in columns]
        known = leader_reward[0] is not None
        leader = _padded(np.stack(leader_reward, axis=1), steps) if known else None
        ends = _padded(np.stack(terminated, axis=1), steps)
        return Trajectories(*found, ended=~running, leader_reward=leader, terminated=ends)

    def fragments(
        self,
        learner: ActorLearner,
        state: tuple[LearnerState, PyTree],
        length: int,
        num: int,
        key: Key[Array, ""],
    ) -> Fragment:
        """The newest fragments in the replay (N,M), with M N ≥ num if there are so many.

        They are steps of the run, and of the policy as it was while it learned. See
        `CompiledLoop.fragments`.
        """
        streams = self.environments.num_envs
        each = min(math.ceil(num / streams), learner.replay.length // length)
        found = _newest(learner.replay, state[0], length, each)
        if streams >= 4:
            return found
        # Too few to do without the fragments of one's own.
        return jax.tree.map(lambda leaf: leaf.reshape(-1, 1, *leaf.shape[2:]), found)

    def restore(self, state: tuple[LearnerState, PyTree]) -> tuple[LearnerState, PyTree]:
        """Go on from a saved state: exactly where the environments can, else with new episodes."""
        learner, kept = state
        if self.can_restore:
            self.environments.set_state(jax.tree.map(np.asarray, kept))
            return state
        observation = self.environments.reset(seed_of(learner.key))
        frames = first_frames(jnp.asarray(observation), self.spec.frame_stack)
        nothing = jnp.zeros_like(learner.returns), jnp.zeros_like(learner.lengths)
        new = eqx.tree_at(
            lambda s: (s.frames, s.live, s.returns, s.lengths),
            learner,
            (frames, jnp.ones_like(learner.live), *nothing),
        )
        return new, kept

    def _kept(self) -> PyTree:
        """What the environments need to be restored; nothing where they cannot be."""
        return self.environments.get_state() if self.can_restore else ()


_begin = eqx.filter_jit(ActorLearner.init)


@eqx.filter_jit
def _newest(replay, state, length, each):
    first, count = replay.ring(state.replay)
    return consecutive_fragments(
        state.replay.experience,
        each,
        length,
        first=first,
        count=count,
        now=state.vector_steps,
        frame_stack=replay.frame_stack,
    )


@eqx.filter_jit
def _first_action(fixed, state):
    learner, spec, _ = fixed
    key, act_key = jax.random.split(state.key)
    action, log_prob = learner.act(state, act_key)
    return eqx.tree_at(lambda s: s.key, state, key), action, log_prob, to_environment(spec, action)


class _Programs:
    """The two programs of a step: one keeps what it brought and acts, the other learns.

    The environments need not wait for what is learned. What is carried from call to call is two
    flat lists of arrays, the follower's and the rest: to flatten networks and optimizers at every
    call would take longer than the calls.
    """

    def __init__(self, fixed, carried):
        self._arrays, whole = _flattened(fixed)
        state, *more = carried
        self._structures = jax.tree.structure(state.follower), _structure_of_rest(state, *more)
        self._act, self._learn = _compiled(self._structures, whole)

    def act(self, rest, follower, *step):
        return self._act(rest, follower, self._arrays, *step)

    def learn(self, follower, rest, key):
        return self._learn(follower, rest, self._arrays, key)

    def split(self, state, *more):
        return jax.tree.leaves(state.follower), _leaves_of_rest(state, *more)

    def combine(self, follower, rest):
        return _combined(self._structures, follower, rest)


class _Whole(NamedTuple):
    """What makes a tree of its arrays again; it can be hashed, so that programs are found by it."""

    arrays: Any
    structure: Any
    others: tuple

    def __call__(self, arrays):
        others = jax.tree.unflatten(self.structure, self.others)
        return eqx.combine(jax.tree.unflatten(self.arrays, arrays), others)


def _flattened(tree) -> tuple[list[Array], _Whole]:
    """The arrays of a tree, and what is needed to have it back from them."""
    arrays, others = eqx.partition(tree, eqx.is_array)
    arrays, arrays_structure = jax.tree.flatten(arrays)
    others, structure = jax.tree.flatten(others)
    return arrays, _Whole(arrays_structure, structure, tuple(others))


@functools.cache
def _compiled(structures, whole):
    @functools.partial(jax.jit, donate_argnums=0)
    def act(rest, follower, arrays, *step):
        learner, spec, _ = whole(arrays)
        state, action, log_prob = _combined(structures, follower, rest)
        key, learn_key, act_key = jax.random.split(state.key, 3)
        state, episodes = learner.remember(state, action, log_prob, Step(*step))
        state = eqx.tree_at(lambda s: s.key, state, key)
        action, log_prob = learner.act(state, act_key)
        outside = to_environment(spec, action)
        return _leaves_of_rest(state, action, log_prob), outside, learn_key, episodes

    @functools.partial(jax.jit, donate_argnums=0)
    def learn(follower, rest, arrays, key):
        learner, _, reward = whole(arrays)
        state, _, _ = _combined(structures, follower, rest)
        state, metrics = learner.learn(state, reward, key)
        return jax.tree.leaves(state.follower), metrics

    return act, learn


def _rest(state, *more):
    return eqx.tree_at(lambda s: s.follower, state, None), *more


def _leaves_of_rest(state, *more):
    return jax.tree.leaves(_rest(state, *more))


def _structure_of_rest(state, *more):
    return jax.tree.structure(_rest(state, *more))


def _combined(structures, follower, rest):
    state, *more = jax.tree.unflatten(structures[1], rest)
    follower = jax.tree.unflatten(structures[0], follower)
    return eqx.tree_at(lambda s: s.follower, state, follower, is_leaf=lambda x: x is None), *more


def acting(
    follower: Follower, spec: EnvSpec, state: PyTree, greedy: bool
) -> Callable[[Num[Array | np.ndarray, "N k *obs"], Key[Array, ""]], Num[Array, "N *d"]]:
    """A function from the latest k frames and a key to actions as the environments take them."""
    arrays, whole = _flattened((follower, spec, state))
    return functools.partial(_acting(whole, greedy), arrays)


@functools.cache
def _acting(whole, greedy):
    @jax.jit
    def act(arrays, frames, key):
        follower, spec, state = whole(arrays)
        observation = seen(frames)
        if greedy:
            return to_environment(spec, follower.mode(state, observation))
        return to_environment(spec, follower.act(state, observation, key)[0])

    return act


def acting_freely(follower: Follower, spec: EnvSpec, state: PyTree) -> Callable:
    """As `acting`, but the actions are given as the follower knows them, too."""
    arrays, whole = _flattened((follower, spec, state))
    return functools.partial(_acting_freely(whole), arrays)


@functools.cache
def _acting_freely(whole):
    @jax.jit
    def act(arrays, frames, key):
        follower, spec, state = whole(arrays)
        action, _ = follower.act(state, seen(frames), key)
        return action, to_environment(spec, action)

    return act


def _padded(column: np.ndarray, steps: int) -> np.ndarray:
    """A column (N,t,...) as one of so many steps, the rest of it zero."""
    rest = steps - column.shape[1]
    return np.pad(column, [(0, 0), (0, rest), *[(0, 0)] * (column.ndim - 2)])


def seed_of(key: Key[Array, ""]) -> int:
    """A seed for environments that know nothing of keys."""
    return int(jax.random.randint(key, (), 0, 2**31 - 1))
