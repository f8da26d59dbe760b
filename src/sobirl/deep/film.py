"""Episodes of a policy as pictures, and pictures as lossless WebP."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key, Num, PyTree, UInt8
from PIL import Image

from sobirl.core.errors import InvalidInputError
from sobirl.deep.envs.host import HostEnvironments
from sobirl.deep.envs.pictures import Stage
from sobirl.deep.follower import Follower
from sobirl.deep.host_loop import acting, seed_of
from sobirl.experience import first_frames, next_frames, seen


class Film(NamedTuple):
    """An episode of T steps.

    Attributes:
        pictures: before every step, and after the last (T+1).
        observation: what a network saw before every step (T,*obs).
        action: as the environment took it (T,*d).
        reward: the environment's own (T,).
    """

    pictures: list[UInt8[np.ndarray, "H W 3"]]
    observation: Num[np.ndarray, "T *obs"]
    action: Num[np.ndarray, "T *d"]
    reward: Float[np.ndarray, "T"]


def film(
    environments: HostEnvironments | Stage,
    follower: Follower,
    state: PyTree,
    key: Key[Array, ""],
    most_steps: int,
    greedy: bool = False,
) -> Film:
    """One episode, or the beginning of one, picture by picture.

    Args:
        environments: one environment that can be drawn.
        follower: how its state is read.
        state: what it has learned.
        key: for all that is random.
        most_steps: the episode is cut off after these.
        greedy: take the most likely action instead of drawing one.

    Raises:
        InvalidInputError: the environment cannot be drawn.
    """
    act = acting(follower, environments.spec, state, greedy)
    key, reset_key = jax.random.split(key)
    observation = environments.reset(seed_of(reset_key))
    frames = first_frames(observation, environments.spec.frame_stack)
    pictures, steps = [environments.render_frame()], []
    for _ in range(most_steps):
        key, act_key = jax.random.split(key)
        action = np.asarray(act(frames, act_key))
        step = environments.step(action)
        steps.append((np.asarray(seen(frames))[0], action[0], np.asarray(step.reward)[0]))
        frames = next_frames(frames, step.observation)
        pictures.append(environments.render_frame())
        if step.terminated[0] or step.truncated[0]:
            break
    return Film(pictures, *(np.stack(column) for column in zip(*steps, strict=True)))


def webp(pictures: Sequence[UInt8[np.ndarray, "H W 3"]], frames_per_second: float | int) -> bytes:
    """An animation in which every pixel is as it was drawn.

    Raises:
        InvalidInputError: there are no pictures.
    """
    if not pictures:
        raise InvalidInputError("pictures: there are none")
    first, *others = (Image.fromarray(picture) for picture in pictures)
    file = io.BytesIO()
    first.save(
        file,
        format="WEBP",
        save_all=True,
        append_images=others,
        duration=round(1000 / frames_per_second),
        loop=0,
        lossless=True,
        method=1,  # a tenth of the time of the smallest files
    )
    return file.getvalue()
