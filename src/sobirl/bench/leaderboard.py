"""The leaderboard: what methods reached on every task, and over all of them."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sobirl.bench.statistics import interquartile_mean, interval
from sobirl.bench.tasks import Task
from sobirl.runs.benchmark import Published
from sobirl.runs.saved import SavedRun
from sobirl.sweeps.cells import Cell
from sobirl.sweeps.folder import SweepFolder


@dataclasses.dataclass(frozen=True)
class Line:
    """A method on a task.

    Attributes:
        method: its name.
        cells: its runs, one a seed.
        runs: what is left of those that are done.
        values: the measure of each of them (runs,).
        firsts: the same before anything was learned (runs,).
        seconds: of their steps, without compilation (runs,).
        environment_steps: that they took (runs,); 0 of methods that read the model.
        scores: 0 for nothing learned, 1 for the best that any method did with the seed (runs,).
    """

    method: str
    cells: list[Cell]
    runs: list[SavedRun]
    values: np.ndarray
    firsts: np.ndarray
    seconds: np.ndarray
    environment_steps: np.ndarray
    scores: np.ndarray

    @property
    def value(self) -> float:
        """The interquartile mean of the measure."""
        return float(interquartile_mean(self.values)) if len(self.values) else np.nan

    @property
    def interval(self) -> tuple[float, float]:
        """A 95 % interval of it, by the bootstrap over seeds."""
        return interval([self.values]) if len(self.values) else (np.nan, np.nan)

    @property
    def score(self) -> float:
        """The interquartile mean of the scores."""
        return float(interquartile_mean(self.scores)) if len(self.scores) else np.nan

    def command(self, seed: int = 0) -> str:
        """The command that repeats a run."""
        return shlex.join(self.cells[seed].run_options.command)


@dataclasses.dataclass(frozen=True)
class Board:
    """A task's part of the leaderboard.

    Attributes:
        task: the task.
        lines: of its methods, the best one first.
        published: figures of the literature.
    """

    task: Task
    lines: list[Line]
    published: Sequence[Published]


@dataclasses.dataclass(frozen=True)
class Score:
    """A method over all tasks that it has.

    Attributes:
        method: its name.
        score: the interquartile mean of its scores.
        interval: a 95 % interval of it, by the bootstrap over seeds within tasks.
        tasks: how many tasks it has.
    """

    method: str
    score: float
    interval: tuple[float, float]
    tasks: int


@dataclasses.dataclass(frozen=True)
class Leaderboard:
    """What a benchmark found.

    Attributes:
        path: its folder.
        boards: one a task.
        failures: cells that failed, as people know them, and why.
    """

    path: Path
    boards: list[Board]
    failures: Mapping[str, str]

    @property
    def scores(self) -> list[Score]:
        """Methods over all their tasks, the best one first."""
        strata: dict[str, list[np.ndarray]] = {}
        for board in self.boards:
            for line in board.lines:
                if len(line.scores):
                    strata.setdefault(line.method, []).append(line.scores)
        found = [
            Score(
                method,
                float(interquartile_mean(np.concatenate(scores))),
                interval(scores),
                len(scores),
            )
            for method, scores in strata.items()
        ]
        return sorted(found, key=lambda score: -score.score)

    def rows(self) -> list[dict[str, Any]]:
        """One a run, for `leaderboard.csv`."""
        return [
            {
                "task": board.task.name,
                "method": line.method,
                "seed": run.config["options"]["seed"],
                "measure": board.task.benchmark.measure,
                "value": value,
                "score": score,
                "environment_steps": int(steps),
                "seconds": seconds,
                "command": run.command,
            }
            for board in self.boards
            for line in board.lines
            for run, value, score, steps, seconds in zip(
                line.runs,
                line.values,
                line.scores,
                line.environment_steps,
                line.seconds,
                strict=True,
            )
        ]


def read_board(task: Task, cells: Mapping[str, Sequence[Cell]], folder: SweepFolder) -> Board:
    """What the runs of a task found.

    Args:
        task: the task.
        cells: its runs by method, one a seed.
        folder: where they are.
    """
    done = {method: _done(own, folder) for method, own in cells.items()}
    sign = 1 if task.benchmark.larger_is_better else -1
    best: dict[int, float] = {}  # by seed, of which some instances of problems are drawn
    for runs in done.values():
        for run in runs:
            seed, value = run.config["options"]["seed"], _metric(run, task.benchmark.measure)
            if np.isfinite(value):
                best[seed] = max(best.get(seed, -np.inf), sign * value)
    lines = [_line(task, method, list(cells[method]), runs, best) for method, runs in done.items()]
    lines.sort(key=lambda line: -line.score if np.isfinite(line.score) else np.inf)
    return Board(task, lines, task.benchmark.published())


def _line(task, method: str, cells: list[Cell], runs: list[SavedRun], best) -> Line:
    sign = 1 if task.benchmark.larger_is_better else -1
    values = np.array([_metric(run, task.benchmark.measure) for run in runs])
    firsts = np.array([_metric(run, task.benchmark.first) for run in runs])
    ceilings = np.array([best.get(run.config["options"]["seed"], np.nan) for run in runs])
    gained, possible = sign * (values - firsts), ceilings - sign * firsts
    # Where nothing was to be gained, to lose nothing is the best.
    scores = np.where(possible > 0, gained / np.where(possible > 0, possible, 1), 1 + gained)
    return Line(
        method=method,
        cells=cells,
        runs=runs,
        values=values,
        firsts=firsts,
        seconds=np.array([run.summary["run_seconds"] for run in runs if run.summary]),
        environment_steps=np.array([_environment_steps(task, run) for run in runs]),
        scores=np.where(np.isfinite(scores), scores, 0),  # nothing finite: nothing learned
    )


def _done(cells: Sequence[Cell], folder: SweepFolder) -> list[SavedRun]:
    return [SavedRun.load(folder.run(cell.id)) for cell in cells if folder.is_done(cell.id)]


def _metric(run: SavedRun, name: str) -> float:
    """NaN where a run found nothing finite, which JSON has as null."""
    value = (run.summary or {})["metrics"][name]
    return np.nan if value is None else float(value)


def _environment_steps(task: Task, run: SavedRun) -> float:
    steps = run.metrics().get("environment_steps", np.zeros(1))
    return float(steps.sum() if task.benchmark.steps is None else steps[-1])
