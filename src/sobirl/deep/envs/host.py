"""Environments stepped on the host, through a Gymnasium vector environment."""

import contextlib
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from jaxtyping import ArrayLike, Shaped, UInt8

from sobirl.core.checks import check, check_number, check_shape
from sobirl.core.errors import InvalidInputError
from sobirl.deep.envs.failures import failing_as
from sobirl.deep.envs.spec import Discrete, EnvSpec, Step


class HostEnvironments(contextlib.AbstractContextManager):
    """N environments that are stepped on the host; to be closed, best by a `with` statement.

    Back ends say how a vector environment's arrays become those of `Step`.

    Args:
        vector_env: any Gymnasium vector environment; it is closed with this one.
        spec: what a learner has to know.

    Attributes:
        num_envs: N.
        can_restore: whether `get_state` and `set_state` allow to go on exactly.
        leader_from_info: whether steps have the `info["leader_reward"]` of the environments.

    Raises:
        InvalidInputError: the vector environment resets at another time than `Step` says.
    """

    can_restore = False
    leader_from_info = False

    def __init__(self, vector_env: VectorEnv, spec: EnvSpec):
        mode = vector_env.metadata.get("autoreset_mode")
        if mode != AutoresetMode.NEXT_STEP:
            vector_env.close()
            raise InvalidInputError(
                f"autoreset_mode: {spec.name} must begin episodes with the step after an end "
                f"(gymnasium's AutoresetMode.NEXT_STEP), got {mode}; try vectorization_mode='sync'"
            )
        self.vector_env = vector_env
        self.spec = spec
        self.num_envs = vector_env.num_envs
        self._ended: np.ndarray | None = None

    def reset(self, seed: int) -> Shaped[np.ndarray, "N ..."]:
        """Begin an episode in every environment; the same seed gives the same stream.

        The environments' own seeds are drawn from this one, so that environments with neighboring
        seeds have nothing in common.

        Raises:
            InvalidInputError: the seed is negative, or the environments are closed.
            EnvironmentFailedError: an environment raised an exception.
        """
        self._check_open()
        check_number("seed", seed, "must not be negative", lambda seed: seed >= 0)
        seeds = np.random.SeedSequence(seed).generate_state(self.num_envs) >> 1  # 31 bits
        with failing_as(self.spec.name, "reset"):
            observation, info = self._reset(seeds.astype(np.int32))
            frames = self._frames(observation, info)
        self._ended = np.zeros(self.num_envs, bool)
        return frames

    def step(self, action: Shaped[ArrayLike, "N ..."]) -> Step:
        """One step, or the beginning of the next episode, in every environment.

        Args:
            action: int of shape (N,) for `Discrete` actions, float (N,...) for `Continuous` ones.

        Raises:
            InvalidInputError: `reset` or `set_state` was not called before, the environments are
                closed, or an action is none of theirs or not finite.
            EnvironmentFailedError: an environment raised an exception.
        """
        self._check_begun()
        action = self._checked(np.asarray(action))
        begins = np.asarray(self._ended)
        with failing_as(self.spec.name, "step"):
            observation, reward, terminated, truncated, info = self._step(action)
            step = Step(
                self._frames(observation, info),
                np.asarray(reward, np.float32),
                np.asarray(terminated, bool),
                np.asarray(truncated, bool),
                self._leader_reward(info, begins) if self.leader_from_info else None,
            )
        self._ended = np.logical_or(step.terminated, step.truncated)
        return step

    @property
    def frames_per_second(self) -> int:
        """How fast pictures should follow each other, for people."""
        return int(self.vector_env.metadata.get("render_fps") or 30)

    def render_frame(self) -> UInt8[np.ndarray, "H W 3"]:
        """A picture of environment 0 as it is now; it needs `render_mode="rgb_array"`.

        Raises:
            InvalidInputError: it was made without or has not begun, or a package for drawing is
                missing.
        """
        if self.vector_env.render_mode != "rgb_array":
            raise InvalidInputError(
                f"render_mode: to draw {self.spec.name} make it with render_mode='rgb_array', got "
                f"{self.vector_env.render_mode!r}"
            )
        self._check_begun()
        try:
            return np.asarray(self._render(), np.uint8)
        except gymnasium.error.DependencyNotInstalled as error:
            raise InvalidInputError(f"render_mode: {self.spec.name}: {error}") from error

    def own(self, name: str) -> Any:
        """What an environment has of that name, if they are stepped here and have it."""
        if not isinstance(self.vector_env, SyncVectorEnv):
            return None
        env = self.vector_env.envs[0]
        return env.get_wrapper_attr(name) if env.has_wrapper_attr(name) else None

    def call(self, name: str, *arguments: Any) -> None:
        """Call every environment's function of that name.

        Raises:
            EnvironmentFailedError: an environment raised an exception.
        """
        self._check_open()
        assert isinstance(self.vector_env, SyncVectorEnv)  # as `own` has found
        with failing_as(self.spec.name, name):
            self.vector_env.call(name, *arguments)

    def get_state(self) -> dict[str, np.ndarray]:
        """All that is needed to go on exactly, as arrays for an .npz file.

        Raises:
            InvalidInputError: the environments cannot be restored (see `can_restore`) or have not
                begun.
        """
        raise self._not_restorable()

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Go on from what `get_state` gave, in environments that were made in the same way.

        Raises:
            InvalidInputError: the environments cannot be restored (see `can_restore`), or the state
                is one of others.
        """
        raise self._not_restorable()

    def close(self) -> None:
        """End the environments and their processes; nothing happens if they are closed already."""
        self.vector_env.close()

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def _reset(self, seeds):
        if isinstance(self.vector_env, (SyncVectorEnv, AsyncVectorEnv)):
            return self.vector_env.reset(seed=seeds.tolist())
        return self.vector_env.reset(seed=int(seeds[0]))

    def _step(self, action):
        return self.vector_env.step(action)

    def _frames(self, observation, info):
        return np.asarray(observation, self.spec.observation_dtype)

    def _leader_reward(self, info, begins):
        """What every step is worth to a leader (N,), 0 where an episode began instead."""
        value = info.get("leader_reward")
        given = info.get("_leader_reward", np.full(self.num_envs, value is not None))
        if not np.all(given | begins):
            raise InvalidInputError(
                f"leader_reward: {self.spec.name} does not give info['leader_reward'] with every "
                "step; let its step return it, or give a function of the leader's"
            )
        if value is None:  # every environment has just begun
            return np.zeros(self.num_envs, np.float32)
        try:
            reward = np.where(given & ~begins, np.asarray(value, np.float32), 0)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(
                f"leader_reward: {self.spec.name} must give one number as info['leader_reward'], "
                f"got {value!r}"
            ) from error
        check_shape("leader_reward", reward, (self.num_envs,))
        check("leader_reward", reward, np.isfinite(reward), "must be finite")
        return np.asarray(reward, np.float32)

    def _render(self):
        if isinstance(self.vector_env, SyncVectorEnv):
            return self.vector_env.envs[0].render()
        frames = self.vector_env.render()
        assert frames is not None  # `render_frame` has checked that there is a render mode
        return frames[0]

    def _checked(self, action):
        actions = self.spec.actions
        check_shape("action", action, (self.num_envs, *actions.shape))
        if not isinstance(actions, Discrete):
            action = action.astype(actions.dtype)
            check("action", action, np.isfinite(action), "must be finite")
            return action
        if action.dtype.kind not in "iu":
            raise InvalidInputError(f"action: expected integers, got {action.dtype}")
        known = (action >= 0) & (action < actions.num)
        check("action", action, known, f"must lie between 0 and {actions.num - 1}")
        return action.astype(np.int64)

    def _check_open(self):
        if self.vector_env.closed:
            raise InvalidInputError(f"{self.spec.name}: is closed; make the environments anew")

    def _check_begun(self):
        self._check_open()
        if self._ended is None:
            raise InvalidInputError(f"{self.spec.name}: has not begun; call reset(seed) first")

    def _not_restorable(self):
        return InvalidInputError(
            f"can_restore: {self.spec.name} ({self.spec.backend}) cannot be saved and restored; "
            "begin anew with reset(seed)"
        )
