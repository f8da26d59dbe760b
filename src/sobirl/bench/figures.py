"""Learning curves with bands, and the scores of methods."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from sobirl.bench.leaderboard import Board, Score
from sobirl.bench.statistics import band
from sobirl.hypergrad.methods import METHODS
from sobirl.runs.curves import style

_POINTS = 200  # of a curve


def curves(board: Board) -> Figure:
    """φ as each method sees it, by outer step: interquartile means over seeds, with 95 % bands."""
    figure = Figure(figsize=(8.5, 4.6), layout="constrained")
    axes = figure.subplots()
    # A method has the same look in the figures of all tasks.
    means: list[np.ndarray] = []
    names = [*METHODS, *sorted(line.method for line in board.lines if line.method not in METHODS)]
    for line in board.lines:
        columns = [run.metrics().get("objective", np.zeros(0)) for run in line.runs]
        columns = [column for column in columns if np.isfinite(column).any()]
        if not columns:
            continue
        steps = min(map(len, columns))
        at = np.unique(np.linspace(0, steps - 1, min(steps, _POINTS)).astype(int))
        mean, low, high = band(np.array([column[at] for column in columns]))
        means.append(mean[np.isfinite(mean)])
        how = style(names.index(line.method))
        axes.plot(at + 1, mean, label=line.method, lw=1.6, **how)
        axes.fill_between(at + 1, low, high, alpha=0.15, lw=0, color=how["color"])
    if means:  # a method that runs away for some steps hides no other
        low, high = np.quantile(np.concatenate(means), [0.02, 0.98])
        margin = 0.15 * max(high - low, 1e-9)
        axes.set_ylim(low - margin, high + margin)
    axes.set(xlabel="outer step", ylabel="φ, as the method sees it", title=board.task.name)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def scores(found: Sequence[Score]) -> Figure:
    """Interquartile means over all tasks of a method, with 95 % intervals."""
    figure = Figure(figsize=(7.5, 0.8 + 0.34 * len(found)), layout="constrained")
    axes = figure.subplots()
    for row, score in enumerate(reversed(found)):
        low, high = score.interval
        axes.barh(row, high - low, left=low, height=0.6, color="#0072b2", alpha=0.35)
        axes.plot([score.score] * 2, [row - 0.3, row + 0.3], color="#0072b2", lw=2.5)
    names = [f"{s.method} ({s.tasks} task{'s' * (s.tasks > 1)})" for s in reversed(found)]
    axes.set_yticks(range(len(found)), names)
    axes.set(xlabel="score: 0 nothing learned, 1 the best of all methods")
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure
