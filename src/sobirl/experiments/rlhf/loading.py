"""What a run of rlhf has learned, as functions."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from sobirl.bilevel.checkpoint import load_checkpoint
from sobirl.core.errors import InvalidInputError
from sobirl.deep.host_loop import acting
from sobirl.experience import first_frames
from sobirl.experiments.rlhf.rounds import Rounds
from sobirl.runs.configuration import fingerprint
from sobirl.runs.saved import CHECKPOINT, SavedRun

if TYPE_CHECKING:
    from sobirl.experiments.rlhf.options import RLHFRun


def learned(options: "RLHFRun", saved: SavedRun) -> dict[str, Callable[..., Any]]:
    """The policy and the reward of the last seed, from the last checkpoint.

    Raises:
        InvalidInputError: there is no checkpoint yet, or it is damaged.
    """
    path = saved.path / CHECKPOINT
    if not path.exists():
        raise InvalidInputError(f"{saved.path}: nothing is kept yet")
    with jax.enable_x64(False), Rounds.open(options, options.seed) as rounds:
        begin = rounds.begin()
        state, _, _ = load_checkpoint(path, begin, fingerprint(options, saved.config))
        loop = rounds.learning.loop
        follower, spec = rounds.learning.learner.follower, loop.spec
        agent, model = jax.tree.map(
            jnp.asarray, (state.learning.loop[0].follower, state.learning.reward.model)
        )

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
