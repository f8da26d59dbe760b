"""Discrete choice: the estimates, and the choices that they predict beside those that were seen."""

import numpy as np
from matplotlib.figure import Figure

from sobirl.estimation.result import ChoiceResult

_BLUE, _GREY = "#08519c", "#636363"
_NORMAL_95 = 1.959964


def estimates(result: ChoiceResult) -> Figure:
    """Every parameter over its standard error, from the estimate's 95 % interval."""
    names = result.names
    figure = Figure(figsize=(6.4, 1.2 + 0.45 * len(names)), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(names))[::-1]
    z = np.where(result.moving, result.values / result.standard_errors, np.nan)
    axes.errorbar(z, rows, xerr=_NORMAL_95, fmt="o", color=_BLUE, capsize=3)
    axes.axvline(0, color=_GREY, lw=0.8)
    labels = [f"{name} = {value:.4g}" for name, value in zip(names, result.values, strict=True)]
    axes.set_yticks(rows, labels)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel("estimate in standard errors, with its 95 % interval")
    axes.grid(alpha=0.25, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def choices(result: ChoiceResult) -> Figure:
    """Predicted and observed shares of the actions along the first column of the state."""
    (column, space), *_ = result.data.spaces.items()
    panel, labels = result.data.panel, result.model.action_levels.labels
    values = space.values
    ticks = values if values.dtype.kind in "iuf" else np.arange(len(values))
    predicted, seen = np.zeros((2, len(values), len(labels)))
    chances = np.exp(_predictions(result))
    np.add.at(predicted, panel.states[:, 0], chances)
    np.add.at(seen, (panel.states[:, 0], panel.action), 1.0)
    total = seen.sum(axis=1)
    there = total > 0
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots()
    colors = ["#08519c", "#d94801", "#238b45", "#6a51a3", "#a50f15", "#636363"]
    start = 1 if len(labels) == 2 else 0  # of two actions one says all
    for place in range(start, len(labels)):
        color = colors[place % len(colors)]
        share = seen[there, place] / total[there]
        axes.plot(ticks[there], predicted[there, place] / total[there], color=color, lw=2,
                  label=f"{labels[place]}, predicted")  # fmt: skip
        size = 6 + 80 * total[there] / total.max()
        axes.scatter(ticks[there], share, s=size, color=color, alpha=0.35, lw=0,
                     label=f"{labels[place]}, observed")  # fmt: skip
    axes.set_xlabel(column)
    axes.set_ylabel("share of decisions")
    often = there & (total >= 20)  # a share of few decisions may leave the frame
    high = [predicted[there, start:].max(axis=1) / total[there]]
    high += [seen[often, start:].max(axis=1) / total[often]]
    axes.set_ylim(0, min(1.02, 1.25 * np.concatenate(high).max()))
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _predictions(result: ChoiceResult) -> np.ndarray:
    """log π of all actions at every decision (N,A)."""
    panel = result.data.panel
    return result.evidence.table[panel.kind, result.index]
