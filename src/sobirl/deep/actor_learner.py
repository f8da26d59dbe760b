"""Acting and learning in turns: one vector step of N environments, some updates of the follower.

The pieces are pure functions. Environments in JAX run them in one compiled scan; all others call
them between the steps that they take on the host.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Num, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.deep.envs.spec import Continuous, EnvSpec, Step
from sobirl.deep.follower import Follower, RewardFunction
from sobirl.experience import Steps, first_frames, next_frames, seen
from sobirl.experience.replay import Replay, ReplayState


class LearnerState(eqx.Module):
    """Everything that the next step depends on, but the environments and the reward.

    Attributes:
        follower: all that it has learned.
        replay: the ring of experience.
        frames: the latest k frames of every environment (N,k,*obs).
        live: whether the next call of the environments takes a step (N,).
        returns: the true return of the running episode (N,).
        lengths: its steps (N,).
        vector_steps: calls of the environments so far.
        steps: environment steps taken so far, all environments together.
        key: for all that is random.
    """

    follower: PyTree
    replay: ReplayState
    frames: Num[Array, "N k *obs"]
    live: Bool[Array, "N"]
    returns: Float[Array, "N"]
    lengths: Int[Array, "N"]
    vector_steps: Int[Array, ""]
    steps: Int[Array, ""]
    key: Key[Array, ""]


class ActorLearner(eqx.Module):
    """A follower, its replay, and how acting and learning alternate.

    Args:
        follower: learns.
        replay: keeps what is experienced.
        random_steps: environment steps at the beginning with uniformly random actions, during
            which nothing is learned.
        updates_per_step: updates of the follower for every environment step. What it makes for one
            step of all N environments must be a whole number, or one over a whole number.
        keep_states: keep the state of the environment before every step too, to walk on from
            there; only environments in JAX have one to give.
        keep_leader_rewards: keep what every step is worth to a leader, which environments must say.

    Raises:
        InvalidInputError: numbers that cannot be.
    """

    follower: Follower
    replay: Replay
    random_steps: int = eqx.field(default=1000, static=True)
    updates_per_step: float = eqx.field(default=1.0, static=True)
    keep_states: bool = eqx.field(default=False, static=True)
    keep_leader_rewards: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        if self.updates_per_step <= 0:
            raise InvalidInputError(
                f"updates_per_step: must be positive, got {self.updates_per_step}"
            )
        per_call = self.updates_per_step * self.replay.num_envs
        whole = per_call if per_call >= 1 else 1 / per_call
        if not math.isclose(whole, round(whole), rel_tol=1e-6):
            raise InvalidInputError(
                f"updates_per_step: {self.updates_per_step} makes {per_call:g} updates for a step "
                f"of all {self.replay.num_envs} environments; a whole number or one over one is "
                "needed"
            )
        if self.random_steps < 0:
            raise InvalidInputError(f"random_steps: must not be negative, got {self.random_steps}")

    def init(
        self, observation: Num[Array, "N *obs"], key: Key[Array, ""], environment: PyTree = None
    ) -> LearnerState:
        """Before the first step; `environment` are the environments' own states, to be kept.

        Raises:
            InvalidInputError: states are to be kept and there are none.
        """
        key, follower_key = jax.random.split(key)
        count, k = self.replay.num_envs, self.replay.frame_stack
        frames = jnp.asarray(first_frames(observation, k))
        follower = self.follower.init(follower_key)
        action, log_prob = self.follower.act(follower, seen(frames), follower_key)
        flags = jnp.zeros((count, 1), bool)
        first = Steps(
            observation=observation[:, None],
            action=action[:, None],
            reward=jnp.zeros((count, 1)),
            terminated=flags,
            truncated=flags,
            live=flags,
            log_prob=log_prob[:, None],
            state=self._kept(environment),
            leader_reward=jnp.zeros((count, 1)) if self.keep_leader_rewards else None,
        )
        return LearnerState(
            follower=follower,
            replay=self.replay.init(jax.tree.map(lambda leaf: leaf[0, 0], first)),
            frames=frames,
            live=jnp.ones(count, bool),
            returns=jnp.zeros(count),
            lengths=jnp.zeros(count, jnp.int32),
            vector_steps=jnp.zeros((), jnp.int32),
            steps=jnp.zeros((), jnp.int32),
            key=key,
        )

    def act(
        self, state: LearnerState, key: Key[Array, ""]
    ) -> tuple[Num[Array, "N *d"], Float[Array, "N"]]:
        """The next actions and their log-probabilities: at random first, then the policy's."""
        observation = seen(state.frames)
        policy_key, random_key = jax.random.split(key)
        action, log_prob = self.follower.act(state.follower, observation, policy_key)
        anything, flat = self.follower.random_action(len(observation), random_key)
        random = state.steps < self.random_steps
        return jnp.where(random, anything, action), jnp.where(random, flat, log_prob)

    def absorb(
        self,
        state: LearnerState,
        action: Num[Array, "N *d"],
        log_prob: Float[Array, "N"],
        step: Step,
        reward: RewardFunction | None,
        key: Key[Array, ""],
        environment: PyTree = None,
    ) -> tuple[LearnerState, dict[str, Array]]:
        """Keep what a step of all environments brought, and learn: `remember` and `learn`."""
        state, episodes = self.remember(state, action, log_prob, step, environment)
        state, metrics = self.learn(state, reward, key)
        return state, {**episodes, **metrics}

    def remember(
        self,
        state: LearnerState,
        action: Num[Array, "N *d"],
        log_prob: Float[Array, "N"],
        step: Step,
        environment: PyTree = None,
    ) -> tuple[LearnerState, dict[str, Array]]:
        """Keep what a step of all environments brought.

        Args:
            state: before the step.
            action: what was done.
            log_prob: its log-probability.
            step: what the environments answered.
            environment: the environments' own states before the step, to be kept.

        Returns:
            the next state, and sums over the step: of `episodes` that ended, of their `returns`
            and `lengths`.
        """
        record = self.record(state.frames, action, log_prob, step, state.live, environment)
        ended = step.terminated | step.truncated
        returns = state.returns + step.reward
        lengths = state.lengths + state.live
        after = LearnerState(
            follower=state.follower,
            replay=self.replay.add(state.replay, record),
            frames=frames_after(state.frames, state.live, step.observation),
            live=jnp.logical_not(ended),
            returns=jnp.where(ended, 0, returns),
            lengths=jnp.where(ended, 0, lengths),
            vector_steps=state.vector_steps + 1,
            steps=state.steps + jnp.sum(state.live, dtype=jnp.int32),
            key=state.key,
        )
        return after, {
            "episodes": jnp.sum(ended),
            "returns": jnp.sum(jnp.where(ended, returns, 0)),
            "lengths": jnp.sum(jnp.where(ended, lengths, 0)),
        }

    def record(
        self,
        frames: Num[Array, "N k *obs"],
        action: Num[Array, "N *d"],
        log_prob: Float[Array, "N"],
        step: Step,
        live: Bool[Array, "N"],
        environment: PyTree = None,
    ) -> Steps:
        """A step of all environments as it is kept (N,1); arguments as of `remember`."""
        return Steps(
            observation=frames[:, -1:],
            action=action[:, None],
            reward=step.reward[:, None],
            terminated=step.terminated[:, None],
            truncated=step.truncated[:, None],
            live=live[:, None],
            log_prob=log_prob[:, None],
            state=self._kept(environment),
            leader_reward=self._leader_reward(step),
        )

    def learn(
        self, state: LearnerState, reward: RewardFunction | None, key: Key[Array, ""]
    ) -> tuple[LearnerState, dict[str, Array]]:
        """The updates that are due after a step.

        Args:
            state: the step is in its replay.
            reward: the learned reward; None for the environment's own.
            key: for the updates.

        Returns:
            the next state, and sums: of `updates`, and of their metrics.
        """
        per_call = self.updates_per_step * self.replay.num_envs
        count, period = max(round(per_call), 1), max(round(1 / per_call), 1)

        def update(follower, key):
            sample_key, update_key = jax.random.split(key)
            batch = self.replay.sample(state.replay, sample_key)
            return self.follower.update(follower, batch, reward, update_key)

        def learn(follower):
            follower, metrics = jax.lax.scan(update, follower, jax.random.split(key, count))
            sums = jax.tree.map(jnp.sum, metrics)
            return follower, {"updates": jnp.full((), count, jnp.int32), **sums}

        nothing = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
            jax.eval_shape(learn, state.follower)[1],
        )
        filled = state.vector_steps > self.replay.frame_stack
        due = (state.steps >= self.random_steps) & ((state.vector_steps - 1) % period == 0) & filled
        follower, metrics = jax.lax.cond(due, learn, lambda f: (f, nothing), state.follower)
        return eqx.tree_at(lambda s: s.follower, state, follower), metrics

    def _leader_reward(self, step: Step) -> Float[Array, "N 1"] | None:
        """What a record keeps of what a step was worth to a leader."""
        if not self.keep_leader_rewards:
            return None
        if step.leader_reward is None:
            raise InvalidInputError(
                "keep_leader_rewards: the environments do not say what a step is worth to a leader"
            )
        return jnp.asarray(step.leader_reward)[:, None]

    def _kept(self, environment: PyTree) -> PyTree:
        """What a record keeps of the environments' states (N,1,...)."""
        if not self.keep_states:
            return None
        if environment is None:
            raise InvalidInputError("keep_states: only environments in JAX have states to give")
        return jax.tree.map(lambda leaf: leaf[:, None], environment)


def frames_after(
    frames: Num[Array, "N k *obs"],
    live: Bool[Array, "N"],
    observation: Num[Array | np.ndarray, "N *obs"],
) -> Num[Array, "N k *obs"]:
    """The latest frames after a call of the environments.

    Where no step was taken a new episode begins, and its first frame fills the stack.
    """
    shifted = next_frames(frames, observation)
    begun = first_frames(observation, frames.shape[1])
    return jnp.where(live.reshape(-1, *(1,) * (shifted.ndim - 1)), shifted, begun)


def to_environment(spec: EnvSpec, action: Num[Array, "N *d"]) -> Num[Array, "N *d"]:
    """Actions as the environment takes them: numbers from -1 to 1 stretched to its bounds."""
    if not isinstance(spec.actions, Continuous):
        return action
    low, high = (jnp.asarray(bound) for bound in (spec.actions.low, spec.actions.high))
    return low + (action + 1) / 2 * (high - low)


def from_environment(spec: EnvSpec, action: Num[Array | np.ndarray, "N *d"]) -> Num[Array, "N *d"]:
    """The inverse of `to_environment`, but for rounding."""
    if not isinstance(spec.actions, Continuous):
        return jnp.asarray(action)
    low, high = (jnp.asarray(bound) for bound in (spec.actions.low, spec.actions.high))
    return jnp.clip(2 * (jnp.asarray(action) - low) / (high - low) - 1, -1, 1)
