"""`sobirl run rlhf`: a reward from preferences, and a policy from the reward."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
from rich.table import Table

from sobirl.bilevel.checkpoint import Checkpoint
from sobirl.bilevel.driver import Drive
from sobirl.bilevel.recorder import Recorder
from sobirl.core.errors import InvalidInputError
from sobirl.deep.film import Film
from sobirl.experiments.learning_rounds import drive_rounds
from sobirl.experiments.rlhf import figures
from sobirl.experiments.rlhf.learned import files as files_of
from sobirl.experiments.rlhf.learned import plain
from sobirl.experiments.rlhf.options import RLHFRun
from sobirl.experiments.rlhf.rounds import Rounds, RoundState, standard_error
from sobirl.experiments.rlhf.settings import Settings
from sobirl.runs.outcome import Outcome, summarize
from sobirl.runs.saved import LABELS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

History = dict[str, np.ndarray]

# What the progress bar says: metric -> word and format.
_SHOWN = {
    "eval_return": ("evaluation", ".4g"),
    "true_return": ("return", ".4g"),
    "preference_accuracy": ("accuracy", ".0%"),
    "held_out_accuracy": ("held out", ".0%"),
    "implicit_ratio": ("implicit/explicit", ".2g"),
    "temperature": ("τ", ".3g"),
    "steps_per_second": ("steps/s", ",.0f"),
}


def run(options: RLHFRun, recorder: Recorder | None = None) -> Outcome:
    """Learn with every seed, one after another."""
    # Networks are in single precision.
    with (
        jax.enable_x64(False),
        Rounds.open(options, options.seed, _store(options, recorder)) as rounds,
    ):
        end = drive_rounds(rounds, _SHOWN, recorder, options.progress)
        files, episode, notes = _clips(options, rounds, end.state)
        drawn = _figures(options, rounds, end, episode)
        return _outcome(options, rounds, end, files, drawn, notes)


def _store(options: RLHFRun, recorder: Recorder | None) -> Path | None:
    """Where people say what they prefer: beside the checkpoint.

    Raises:
        InvalidInputError: there are people, but no directory.
    """
    if options.teacher != "human":
        return None
    if not isinstance(recorder, Checkpoint):
        raise InvalidInputError("--teacher human: needs the directory of a run, for the labels")
    return recorder.path.parent / LABELS


def _clips(
    options: RLHFRun, rounds: Rounds, state: RoundState
) -> tuple[dict[str, bytes], Film | None, list[str]]:
    """The clips by file name and the first one's film, or why there are none."""
    if not options.clips:
        return {}, None, []
    try:
        return *rounds.clips(state), []
    except Exception as error:  # drivers fail in many ways; hours of learning must not be lost
        return {}, None, [f"note: there is no clip: {error}"]


def _figures(
    options: RLHFRun, rounds: Rounds, end: Drive[RoundState], episode: Film | None
) -> "dict[str, Callable[[], Figure]]":
    """What draws the figures, by name."""
    env, method = options.env, options.method
    drawn = {"learning": lambda: figures.learning(env, method, end.records)}
    if options.method == "ground-truth" or not options.figures:
        return drawn
    found = rounds.reward_map(end.state)
    if found is not None:
        drawn["reward"] = lambda: figures.reward(env, method, found)
    if episode is not None:
        rewards = rounds.rewards_of(end.state, episode)
        drawn["episode"] = lambda: figures.episode(env, method, episode, rewards)
    return drawn


def _outcome(
    options: RLHFRun,
    rounds: Rounds,
    end: Drive[RoundState],
    files: dict[str, bytes],
    drawn: "dict[str, Callable[[], Figure]]",
    notes: list[str],
) -> Outcome:
    chosen, history = rounds.settings, end.records
    finals = _last_evaluations(history)
    metrics = {
        "true_return": float(np.mean(finals)),
        "true_return_error": standard_error(finals),
        "true_returns": finals.tolist(),
        "best_evaluation": float(np.nanmax(history["eval_return"])),
        "first_evaluation": float(history["eval_return"][np.isfinite(history["eval_return"])][0]),
        "preference_accuracy": _last(history, "preference_accuracy"),
        "held_out_accuracy": _last(history, "held_out_accuracy"),
        "implicit_ratio": _last(history, "implicit_ratio"),
        "steps_per_second": float(sum(_steps_of_seeds(history)) / end.seconds),
    }
    loop = rounds.learning.loop
    restored = [] if loop.can_restore else [_NOT_EXACT.format(name=loop.spec.name)]
    return Outcome(
        summary=summarize(
            problem=options.problem,
            method=options.method,
            objective=_last(history, "objective"),
            metrics=metrics,
            hypergradient_norm=_last(history, "hypergradient_norm"),
            steps=rounds.total,
            starts=options.seeds,
            converged=False,
            settings=plain(chosen),
            resumes_exactly=loop.can_restore,
        ),
        history=history,
        report=[_table(options, chosen, metrics), *restored, *notes],
        figures=drawn,
        files={**files, **files_of(rounds.learned(end.state), chosen)},
    )


def _table(options: RLHFRun, chosen: Settings, metrics: dict) -> Table:
    pairs = f"{chosen.pairs} pairs, " if chosen.pairs else ""
    labels = "" if chosen.labels is None else f"labels of {chosen.labels.name}, "
    asked = "" if options.method == "ground-truth" else f"{labels}{pairs}"
    table = Table(title=f"{options.env}, {options.method}, {asked}{chosen.steps} steps")
    table.add_column("")
    table.add_column("value", justify="right")
    spread = f" ± {metrics['true_return_error']:.3g}" if options.seeds > 1 else ""
    table.add_row(
        f"true return at the end, {options.seeds} seed{'s' * (options.seeds > 1)}",
        f"[bold]{metrics['true_return']:.4g}{spread}[/bold]",
    )
    table.add_row("best evaluation", f"{metrics['best_evaluation']:.4g}")
    if options.method != "ground-truth":
        table.add_row("preferences predicted", f"{metrics['preference_accuracy']:.1%}")
        if math.isfinite(metrics["held_out_accuracy"]):  # with few pairs none is held out
            table.add_row("those held out", f"{metrics['held_out_accuracy']:.1%}")
    if options.method == "sobirl":
        table.add_row("implicit over explicit gradient", f"{metrics['implicit_ratio']:.3g}")
    table.add_row("environment steps a second", f"{metrics['steps_per_second']:,.0f}")
    return table


_NOT_EXACT = (
    "note: the state of {name} cannot be saved; a resumed run keeps what was learned and begins "
    "new episodes"
)


def _last_evaluations(history: History) -> np.ndarray:
    """The last evaluation of every seed."""
    seeds, values = history["seed"], history["eval_return"]
    return np.array(
        [values[(seeds == seed) & np.isfinite(values)][-1] for seed in np.unique(seeds)]
    )


def _steps_of_seeds(history: History) -> list[float]:
    seeds, steps = history["seed"], history["environment_steps"]
    return [float(steps[seeds == seed].max()) for seed in np.unique(seeds)]


def _last(history: History, name: str) -> float:
    return float(history[name][-1]) if name in history else math.nan
