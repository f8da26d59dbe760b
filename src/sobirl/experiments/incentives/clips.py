"""Clips of a follower before the first incentive and at the end."""

import contextlib

import jax
from jaxtyping import PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.deep.compiled_loop import CompiledLoop
from sobirl.deep.envs import default_backend, make
from sobirl.deep.envs.pictures import Stage
from sobirl.deep.film import film, webp
from sobirl.experiments.incentives.rounds import Rounds
from sobirl.experiments.incentives.settings import Settings


def clips(
    settings: Settings, rounds: Rounds, learned: dict[str, PyTree], count: int, steps: int
) -> dict[str, bytes]:
    """File name -> animation; the same episodes of every follower.

    Args:
        settings: of the environment.
        rounds: how a follower's state is read.
        learned: word -> the state of a follower.
        count: episodes of each.
        steps: after which they are cut off.

    Raises:
        InvalidInputError: the environment cannot be drawn here.
    """
    follower = rounds.design.follower
    found = {}
    with _stage(settings, rounds.design.loop) as stage:
        for word, state in learned.items():
            for number in range(count):
                key = jax.random.fold_in(rounds.last_key, number)
                episode = film(stage, follower, state, key, steps)
                name = f"clips/{word}-{number + 1}.webp"
                found[name] = webp(episode.pictures, stage.frames_per_second)
    return found


def _stage(settings: Settings, loop):
    """One environment that can be drawn."""
    if isinstance(loop, CompiledLoop):
        return contextlib.nullcontext(Stage(loop.evaluation))
    backend = settings.backend or default_backend(settings.env)
    try:
        return make(settings.env, 1, backend, render_mode="rgb_array")
    except InvalidInputError as error:
        raise InvalidInputError(f"{settings.env}: cannot be drawn: {error}") from error
