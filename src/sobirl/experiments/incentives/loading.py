"""What a run of incentives has learned, as functions of what an environment shows."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from sobirl.bilevel.checkpoint import load_checkpoint
from sobirl.core.errors import InvalidInputError
from sobirl.deep.actor_learner import from_environment
from sobirl.deep.host_loop import acting
from sobirl.experience import first_frames
from sobirl.experiments.incentives.rounds import Rounds, RoundState
from sobirl.runs.configuration import fingerprint
from sobirl.runs.saved import CHECKPOINT, SavedRun

if TYPE_CHECKING:
    from sobirl.experiments.incentives.options import IncentivesRun


def learned(options: "IncentivesRun", saved: SavedRun) -> dict[str, Callable[..., Any]]:
    """The policy and the incentives, from the last checkpoint.

    Raises:
        InvalidInputError: there is none yet, or it is damaged; the environment or the leader's
            function is gone.
    """
    path = saved.path / CHECKPOINT
    if not path.exists():
        raise InvalidInputError(f"{saved.path}: nothing is kept yet")
    with jax.enable_x64(False), Rounds.open(options) as rounds:
        kept = fingerprint(options, saved.config)
        state = load_checkpoint(path, rounds.begin(), kept)[0]
        return functions(rounds, jax.tree.map(jnp.asarray, state))


def functions(rounds: Rounds, state: RoundState) -> dict[str, Callable[..., Any]]:
    """`policy(observation, seed=0, greedy=False)` and `reward(observation, action)`."""
    spec, pays = rounds.design.loop.spec, rounds.pays(state)
    agent, follower = rounds.learned(state.design), rounds.design.follower

    def reward(observation: ArrayLike, action: ArrayLike) -> float:
        """What the follower is paid for an action, as the environment takes it."""
        with jax.enable_x64(False):
            inner = from_environment(spec, np.asarray(action)[None])
            return float(pays(jnp.asarray(observation)[None], inner)[0])

    def policy(observation: np.ndarray, seed: int = 0, greedy: bool = False) -> ArrayLike:
        """An action, as the environment takes it."""
        with jax.enable_x64(False):
            frames = first_frames(np.asarray(observation)[None], spec.frame_stack)
            act = acting(follower, spec, agent, greedy)
            return np.asarray(act(frames, jax.random.key(seed)))[0]

    return {"policy": policy, "reward": reward}
