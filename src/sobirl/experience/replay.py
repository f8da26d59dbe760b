"""Replay: the stream of experience in a ring (flashbax), and transitions drawn from it.

The ring holds every frame once; what a transition needs (the next observation, stacked frames) is
put together when it is drawn. Rewards are those of the environment: a follower of a learned reward
reckons them anew for every batch.
"""

import equinox as eqx
import flashbax
import jax
import jax.numpy as jnp
import numpy as np
from flashbax.buffers.trajectory_buffer import TrajectoryBufferState
from jaxtyping import Array, Bool, Float, Int, Key, Num

from sobirl.experience.frames import stack_frames
from sobirl.experience.steps import Steps

ReplayState = TrajectoryBufferState


class Transitions(eqx.Module):
    """A batch of transitions (s, a, r, s').

    Attributes:
        observation: s, its frames stacked.
        action: a, indices or numbers from -1 to 1.
        reward: the environment's own reward.
        terminated: whether the episode ended in s', which then has no value.
        next_observation: s', also where the episode was cut off.
        weight: 0 for what is no step (records of final observations), else 1.
        leader_reward: what it was worth to a leader; None where environments do not say.
    """

    observation: Num[Array, "B *obs"]
    action: Num[Array, "B *d"]
    reward: Float[Array, "B"]
    terminated: Bool[Array, "B"]
    next_observation: Num[Array, "B *obs"]
    weight: Float[Array, "B"]
    leader_reward: Float[Array, "B"] | None = None


class Replay(eqx.Module):
    """A ring of the latest steps of N environments.

    Args:
        num_envs: N.
        capacity: steps kept, all environments together.
        batch_size: transitions drawn at a time.
        frame_stack: k, the frames that make an observation.
    """

    num_envs: int = eqx.field(static=True)
    capacity: int = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    frame_stack: int = eqx.field(default=1, static=True)

    @property
    def _buffer(self):
        return flashbax.make_trajectory_buffer(
            add_batch_size=self.num_envs,
            sample_batch_size=self.batch_size,
            sample_sequence_length=self.frame_stack + 1,
            period=1,
            min_length_time_axis=self.frame_stack + 1,
            max_length_time_axis=self.length,
        )

    @property
    def length(self) -> int:
        """Records kept of every environment."""
        return max(self.capacity // self.num_envs, self.frame_stack + 1)

    def init(self, like: Steps) -> ReplayState:
        """An empty ring for records like this one, which has no axes (N,T)."""
        return self._buffer.init(like)

    def add(self, state: ReplayState, steps: Steps) -> ReplayState:
        """Add T records of every environment (N,T)."""
        return self._buffer.add(state, steps)

    def sample(self, state: ReplayState, key: Key[Array, ""]) -> Transitions:
        """A batch of transitions, uniformly over what is kept."""
        window = self._buffer.sample(state, key).experience
        at = self.frame_stack - 1
        frames = _within_episode(window, self.frame_stack)
        stacked = stack_frames(frames, self.frame_stack)
        live = window.live[:, at]
        return Transitions(
            observation=stacked[:, 0],
            action=window.action[:, at],
            reward=window.reward[:, at],
            terminated=window.terminated[:, at],
            next_observation=stacked[:, 1],
            weight=live.astype(window.reward.dtype),
            leader_reward=None if window.leader_reward is None else window.leader_reward[:, at],
        )

    def ring(self, state: ReplayState) -> tuple[Int[Array, ""], Int[Array, ""]]:
        """The index of the oldest record, and how many there are of every environment."""
        first = jnp.where(state.is_full, state.current_index, 0)
        return first, jnp.where(state.is_full, self.length, state.current_index)


def _within_episode(window: Steps, k: int) -> Num[Array | np.ndarray, "B L *obs"]:
    """The frames, those of the episode before replaced by the first of the own one."""
    if k == 1:
        return window.observation
    # Record i is the last of its episode where no step was taken; the next one begins anew.
    last = jnp.where(window.live[:, : k - 1], -1, jnp.arange(k - 1))
    begin = jnp.max(last, axis=1) + 1
    index = jnp.maximum(jnp.arange(k + 1), begin[:, None])
    return jax.vmap(lambda frames, at: frames[at])(window.observation, index)
