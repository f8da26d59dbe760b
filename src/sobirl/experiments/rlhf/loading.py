"""What a run of rlhf has learned, as functions."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from sobirl.bilevel.checkpoint import load_checkpoint
from sobirl.core.errors import InvalidInputError
from sobirl.deep.host_loop import acting
from sobirl.experience import first_frames
from sobirl.experiments.rlhf.learned import ARRAYS, read
from sobirl.experiments.rlhf.rounds import Rounds, RoundState
from sobirl.prefs import LabelledPair
from sobirl.runs.configuration import fingerprint
from sobirl.runs.saved import CHECKPOINT, SavedRun

if TYPE_CHECKING:
    from sobirl.experiments.rlhf.options import RLHFRun


def learned(options: "RLHFRun", saved: SavedRun) -> dict[str, Callable[..., Any]]:
    """The policy and the reward of the last seed, from `learned.npz` or the last checkpoint.

    Raises:
        InvalidInputError: there is neither of them yet, or it is damaged.
    """
    with jax.enable_x64(False):
        if (saved.path / ARRAYS).exists():
            found = read(saved.path)
        else:
            with _restored(options, saved) as (rounds, state):
                found = rounds.learned(state)
    spec, follower, agent, model = found

    def policy(observation: np.ndarray, seed: int = 0, greedy: bool = False) -> ArrayLike:
        """An action, as the environment takes it, for one observation (or k stacked frames)."""
        with jax.enable_x64(False):
            frames = _frames(observation, spec)
            act = acting(follower, spec, agent, greedy)
            return np.asarray(act(frames, jax.random.key(seed)))[0]

    def reward(observation: np.ndarray, action: np.ndarray | int) -> float:
        """The learned reward of an observation and an action as the networks see them."""
        with jax.enable_x64(False):
            return float(model(jnp.asarray(observation)[None], jnp.asarray(action)[None])[0])

    return {"policy": policy, "reward": reward}


def labelled(options: "RLHFRun", saved: SavedRun) -> list[LabelledPair]:
    """The labelled pairs of the last seed, from the last checkpoint.

    Raises:
        InvalidInputError: there is none yet, or it is damaged.
    """
    with jax.enable_x64(False), _restored(options, saved) as (rounds, state):
        return rounds.labels(state)


@contextlib.contextmanager
def _restored(options: "RLHFRun", saved: SavedRun) -> Iterator[tuple[Rounds, RoundState]]:
    """The rounds, and the state that the last checkpoint has."""
    path = saved.path / CHECKPOINT
    if not path.exists():
        raise InvalidInputError(f"{saved.path}: nothing is kept yet")
    with Rounds.open(options, options.seed) as rounds:
        like = rounds.begin()
        yield rounds, load_checkpoint(path, like, fingerprint(options, saved.config))[0]


def _frames(observation: np.ndarray, spec) -> np.ndarray:
    """Frames as the policy wants them, those before the first repeated."""
    observation = np.asarray(observation)
    if observation.shape == tuple(spec.observation_shape):
        return np.asarray(first_frames(observation[None], spec.frame_stack))
    if observation.shape == (spec.frame_stack, *spec.observation_shape):
        return observation[None]
    raise InvalidInputError(
        f"observation: expected shape {tuple(spec.observation_shape)}, got {observation.shape}"
    )
