"""Demonstrated episodes as an `.npz` file."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sobirl.core.errors import InvalidInputError
from sobirl.core.reading import read_arrays

if TYPE_CHECKING:
    from sobirl.deep.envs import EnvSpec
    from sobirl.deep.trajectories import Trajectories

_NAMES = ("observation", "action", "mask", "reward")


def read_arrays_of(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, once they fit each other.

    Raises:
        InvalidInputError: it is no such file, or an array is missing, not finite, or of another
            number of episodes or steps.
    """
    arrays = read_arrays(path, _NAMES)
    for name in ("observation", "action"):
        if name not in arrays:
            raise InvalidInputError(f"{path}: there is no array {name}")
    shape = arrays["observation"].shape[:2]
    if len(shape) != 2 or 0 in shape:
        raise InvalidInputError(
            f"{path}: observation must be (episodes, steps, ...), got {arrays['observation'].shape}"
        )
    for name, array in arrays.items():
        if array.shape[:2] != shape:
            raise InvalidInputError(
                f"{path}: {name} must begin with {shape} like observation, got {array.shape}"
            )
        if not np.isfinite(array).all():
            raise InvalidInputError(f"{path}: {name} has entries that are not finite")
    mask = arrays.get("mask", np.ones(shape, bool)).astype(bool)
    if not mask[:, 0].all() or (np.diff(mask.astype(int), axis=1) > 0).any():
        raise InvalidInputError(
            f"{path}: mask must be true from the first step of an episode to its last"
        )
    return arrays | {"mask": mask}


def read_demonstrations(path: Path, spec: "EnvSpec", steps: int) -> "Trajectories":
    """The episodes of a file, cut off after so many steps.

    Raises:
        InvalidInputError: they are not of this environment.
    """
    from sobirl.deep.actor_learner import from_environment
    from sobirl.deep.trajectories import Trajectories

    arrays = read_arrays_of(path)
    cut = {name: array[:, :steps] for name, array in arrays.items()}
    observation, action, mask = cut["observation"], cut["action"], cut["mask"]
    for name, array, expected in (
        ("observation", observation, spec.stacked_shape),
        ("action", action, spec.actions.shape),
    ):
        if array.shape[2:] != tuple(expected):
            raise InvalidInputError(
                f"{path}: {name} of one step must have the shape {tuple(expected)} of {spec.name}, "
                f"got {array.shape[2:]}"
            )
    observation = observation.astype(spec.observation_dtype)
    following = np.concatenate([observation[:, 1:], observation[:, -1:]], axis=1)
    inner = np.asarray(from_environment(spec, action.astype(spec.actions.dtype)))
    reward = np.where(mask, cut.get("reward", np.zeros(mask.shape)), 0).astype(np.float32)
    whole = mask.shape == arrays["mask"].shape
    ended = ~mask[:, -1] | whole
    return Trajectories(observation, inner, following, reward, mask, ended)


def as_file(made: "Trajectories", spec: "EnvSpec") -> bytes:
    """Episodes as such a file."""
    import jax.numpy as jnp

    from sobirl.deep.actor_learner import to_environment

    file = io.BytesIO()
    outside = np.asarray(to_environment(spec, jnp.asarray(made.action)))
    np.savez_compressed(
        file, observation=np.asarray(made.observation), action=outside,
        mask=np.asarray(made.mask), reward=np.asarray(made.reward),
    )  # fmt: skip
    return file.getvalue()
