"""Clips of what a follower has learned."""

import contextlib

import jax

from sobirl.core.errors import InvalidInputError
from sobirl.deep.compiled_loop import CompiledLoop
from sobirl.deep.envs import default_backend, make
from sobirl.deep.envs.pictures import Stage
from sobirl.deep.film import Film, film, webp
from sobirl.deep.preference_learning import LearningState, PreferenceLearning
from sobirl.experiments.rlhf.settings import Settings


def clips(
    settings: Settings, learning: PreferenceLearning, state: LearningState, key
) -> tuple[dict[str, bytes], Film]:
    """File name -> animation, of as many episodes as are asked for, and the first of them.

    Raises:
        InvalidInputError: the environment cannot be drawn here.
    """
    films = []
    with _stage(settings.resolved(learning.loop.spec), learning.loop) as stage:
        for number in range(settings.clips):
            episode = film(
                stage,
                learning.learner.follower,
                state.loop[0].follower,
                jax.random.fold_in(key, number),
                settings.clip_steps,
                settings.eval_greedy,
            )
            films.append(episode)
        return {
            f"clips/episode-{number}.webp": webp(episode.pictures, stage.frames_per_second)
            for number, episode in enumerate(films, start=1)
        }, films[0]


def _stage(settings: Settings, loop):
    """One environment that can be drawn."""
    if isinstance(loop, CompiledLoop):
        return contextlib.nullcontext(Stage(loop.evaluation))
    backend = settings.backend or default_backend(settings.env)
    try:
        shown = {"screen": settings.screen} if backend == "atari" else {}
        return make(settings.env, 1, backend, render_mode="rgb_array", **shown)
    except InvalidInputError as error:
        raise InvalidInputError(f"{settings.env}: cannot be drawn: {error}") from error
