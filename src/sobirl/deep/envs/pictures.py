"""Pictures of environments in JAX: MinAtar's boards, and classic control drawn by Gymnasium."""

import os
import sys
from typing import Any

import gymnasium
import jax
import numpy as np
from jaxtyping import ArrayLike, Shaped, UInt8

from sobirl.core.errors import InvalidInputError
from sobirl.deep.envs.compiled import CompiledEnvironments
from sobirl.deep.envs.spec import EnvSpec, Step

# What Gymnasium calls `state`, in the words of gymnax.
_CONTROL = {
    "CartPole-v1": ("x", "x_dot", "theta", "theta_dot"),
    "Acrobot-v1": ("joint_angle1", "joint_angle2", "velocity_1", "velocity_2"),
    "MountainCar-v0": ("position", "velocity"),
    "MountainCarContinuous-v0": ("position", "velocity"),
    "Pendulum-v1": ("theta", "theta_dot"),
}
_SIDE = 16  # pixels of a board's cell
# Distinct colors (Okabe and Ito), one a channel; the empty board is dark.
_COLORS = np.array(
    [
        (34, 34, 34),
        (86, 180, 233),
        (230, 159, 0),
        (0, 158, 115),
        (240, 228, 66),
        (213, 94, 0),
        (204, 121, 167),
        (0, 114, 178),
        (255, 255, 255),
        (160, 160, 160),
        (120, 80, 40),
    ],
    np.uint8,
)


class Stage:
    """One environment in JAX, stepped and drawn on the host as `HostEnvironments` are.

    Args:
        environments: whose first one is shown.

    Raises:
        InvalidInputError: nobody knows how to draw it, or a package for that is missing.
    """

    def __init__(self, environments: CompiledEnvironments):
        self.spec = environments.spec
        self._environments = CompiledEnvironments(environments.environment, 1)
        self._step = jax.jit(self._environments.step)
        self._camera: Any = None
        if self.spec.name in _CONTROL:
            self._camera = camera_for(self.spec)
        elif len(self.spec.observation_shape) != 3:
            raise InvalidInputError(f"{self.spec.name}: there is no way to draw it")

    @property
    def frames_per_second(self) -> int:
        """How fast pictures should follow each other."""
        return 10 if self._camera is None else self._camera.metadata["render_fps"]

    def reset(self, seed: int) -> Shaped[np.ndarray, "1 ..."]:
        """Begin an episode."""
        self._key = jax.random.key(seed)
        self._state, observation = jax.jit(self._environments.init)(self._key)
        self._shown = np.asarray(observation)
        return self._shown

    def step(self, action: Shaped[ArrayLike, "1 ..."]) -> Step:
        """One step."""
        self._key, key = jax.random.split(self._key)
        self._state, step = self._step(self._state, action, key)
        step = jax.tree.map(np.asarray, step)
        self._shown = step.observation
        return step

    def render_frame(self) -> UInt8[np.ndarray, "H W 3"]:
        """A picture of the environment as it is now."""
        if self._camera is None:
            return board(self._shown[0])
        inner: Any = self._state.inner
        fields = [float(getattr(inner, name)[0]) for name in _CONTROL[self.spec.name]]
        self._camera.state = np.array(fields)
        if hasattr(inner, "last_u"):
            self._camera.last_u = float(inner.last_u[0])
        return np.asarray(self._camera.render(), np.uint8)


def camera_for(spec: EnvSpec) -> Any:
    """An environment of Gymnasium that draws what its attribute `state` says.

    Raises:
        InvalidInputError: a package for that is missing.
    """
    without_display()
    try:
        camera = gymnasium.make(spec.name, render_mode="rgb_array").unwrapped
        camera.reset(seed=0)
        camera.render()
    except gymnasium.error.DependencyNotInstalled as error:
        raise InvalidInputError(
            f"{spec.name}: is drawn by Gymnasium ({error}): pip install 'sobirl[clips]'"
        ) from error
    return camera


def without_display() -> None:
    """Let drivers draw into memory, if nothing else was said."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame needs neither screen ...
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")  # ... nor sound for this
    if sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")


def board(observation: np.ndarray) -> np.ndarray:
    """Every cell in the color of its first channel that is there."""
    there = observation != 0
    channel = np.where(there.any(axis=-1), there.argmax(axis=-1) + 1, 0)
    colors = _COLORS[channel % len(_COLORS)]
    return colors.repeat(_SIDE, axis=0).repeat(_SIDE, axis=1)
