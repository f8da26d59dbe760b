"""Clips of what a follower has learned."""

import jax

from sobirl.deep.film import Film, film, webp
from sobirl.deep.preference_learning import LearningState, PreferenceLearning
from sobirl.experiments.learning_rounds import stage_of
from sobirl.experiments.rlhf.settings import Settings


def clips(
    settings: Settings, learning: PreferenceLearning, state: LearningState, key
) -> tuple[dict[str, bytes], Film]:
    """File name -> animation, of as many episodes as are asked for, and the first of them.

    Raises:
        InvalidInputError: the environment cannot be drawn here.
    """
    films = []
    resolved = settings.resolved(learning.loop.spec)
    drawn = {"screen": resolved.screen} if learning.loop.spec.backend == "atari" else {}
    with stage_of(settings.env, settings.backend, learning.loop, **drawn) as stage:
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
