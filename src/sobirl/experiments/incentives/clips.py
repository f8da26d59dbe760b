"""Clips of a follower before the first incentive and at the end."""

import jax
from jaxtyping import PyTree

from sobirl.deep.film import film, webp
from sobirl.experiments.incentives.rounds import Rounds
from sobirl.experiments.incentives.settings import Settings
from sobirl.experiments.learning_rounds import stage_of


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
    with stage_of(settings.env, settings.backend, rounds.design.loop) as stage:
        for word, state in learned.items():
            for number in range(count):
                key = jax.random.fold_in(rounds.last_key, number)
                episode = film(stage, follower, state, key, steps)
                name = f"clips/{word}-{number + 1}.webp"
                found[name] = webp(episode.pictures, stage.frames_per_second)
    return found
