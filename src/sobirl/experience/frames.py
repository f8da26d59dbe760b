"""Frames that are seen together: how a stack of the latest k begins, moves on and is shown."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped

from sobirl.core.errors import InvalidInputError


def first_frames(
    observation: Shaped[Array | np.ndarray, "N *obs"], k: int
) -> Shaped[Array | np.ndarray, "N k *obs"]:
    """The latest k frames at the beginning of an episode: all of them are its first."""
    return observation[:, None].repeat(k, axis=1)


def next_frames(
    frames: Shaped[Array | np.ndarray, "N k *obs"],
    observation: Shaped[Array | np.ndarray, "N *obs"],
) -> Shaped[Array | np.ndarray, "N k *obs"]:
    """The latest k frames after a step: the oldest goes, the new observation comes last."""
    # NumPy's frames stay NumPy's: between steps on the host nothing is to be compiled.
    concatenate = (jnp if isinstance(frames, jax.Array) else np).concatenate
    return concatenate([frames[:, 1:], observation[:, None]], axis=1)


def seen(frames: Shaped[Array | np.ndarray, "N k *obs"]) -> Shaped[Array, "N *stack"]:
    """What a network sees of the latest k frames: one observation (N,*obs,k), or (N,*obs)."""
    return stack_frames(frames, frames.shape[1])[:, 0]


def stack_frames(
    observation: Shaped[Array | np.ndarray, "..."], k: int, axis: int = 1
) -> Shaped[Array, "..."]:
    """Every window of k frames (*B,L+k-1,*obs) as one observation (*B,L,*obs,k), the newest last.

    Args:
        observation: the frames.
        k: how many go together; for 1 the frames are returned as they are.
        axis: that of time, the number of axes in B.

    Raises:
        InvalidInputError: k is below 1 or above the number of frames.
    """
    frames = observation.shape[axis]
    if not 1 <= k <= frames:
        raise InvalidInputError(f"k: must be between 1 and the {frames} frames, got {k}")
    observation = jnp.asarray(observation)
    if k == 1:
        return observation
    steps = frames - k + 1
    windows = [jax.lax.slice_in_dim(observation, i, i + steps, axis=axis) for i in range(k)]
    return jnp.stack(windows, axis=-1)
