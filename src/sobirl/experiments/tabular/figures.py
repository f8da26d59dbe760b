"""A tabular problem: the incentives, what they change, and how they were found."""

import numpy as np
from matplotlib.figure import Figure

from sobirl.bilevel import Result
from sobirl.problems.tabular import Tabular

_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#9e9e9e"
_MOST = 24  # bars that can be told apart
_CHOICES = 12


def incentives(tables: Tabular, x: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> Figure:
    """A bar for every entry of x, or for the largest ones, with their bounds.

    Args:
        tables: the problem.
        x: (n,).
        lower, upper: bounds (n,), infinite for none.
    """
    chosen = np.sort(np.argsort(-np.abs(x), kind="stable")[:_MOST])
    figure = Figure(figsize=(7.5, 1.4 + 0.32 * len(chosen)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(chosen))
    axes.barh(places, x[chosen], color=np.where(x[chosen] < 0, _ORANGE, _BLUE), height=0.6)
    for bound in (lower[chosen], upper[chosen]):
        finite = np.isfinite(bound)
        axes.plot(bound[finite], places[finite], "|", color="black", ms=14, mew=1.5)
    axes.axvline(0, color="black", lw=0.8)
    axes.set_yticks(places, [_short(tables.feature_names[entry]) for entry in chosen])
    axes.invert_yaxis()
    more = len(x) - len(chosen)
    axes.set_title("Incentives x" + (f" (the largest; {more} more)" if more else ""))
    bounded = np.isfinite(lower).any() or np.isfinite(upper).any()
    axes.set_xlabel("amount" + (", black marks: bounds" if bounded else ""))
    _plain(axes)
    return figure


def response(tables: Tabular, before, after) -> Figure:
    """The choices whose discounted frequency changes most, without and with the incentives.

    Args:
        tables: the problem.
        before, after: the follower's responses, with `visits` (S,A) and `leader_value`.
    """
    change = np.abs(after.visits - before.visits)
    order = np.argsort(-change, axis=None, kind="stable")[:_CHOICES]
    chosen = [index for index in order if change.flat[index] > 0] or list(order[:1])
    pairs = [np.unravel_index(index, change.shape) for index in chosen]
    figure = Figure(figsize=(8.5, 1.8 + 0.36 * len(pairs)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(pairs))
    for offset, answer, color, label in (
        (-0.2, before, _GREY, "without incentives"),
        (0.2, after, _BLUE, "with incentives"),
    ):
        bars = [answer.visits[pair] for pair in pairs]
        label = f"{label}: leader value {answer.leader_value:.4g}"
        axes.barh(places + offset, bars, height=0.38, color=color, label=label)
    axes.set_yticks(places, [_short(f"{tables.states[s]}: {tables.actions[a]}") for s, a in pairs])
    axes.invert_yaxis()
    axes.set_xlabel("expected discounted times that the follower does this")
    axes.set_title("What the follower does differently")
    figure.legend(loc="outside lower center", frameon=False, ncols=2)
    _plain(axes)
    return figure


def convergence(result: Result) -> Figure:
    """The leader's value and the norm that must vanish, of every start by step."""
    steps = np.arange(1, result.steps + 1)
    norms = result.history.get("projected_gradient_norm", result.history["hypergradient_norm"])
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, rows in ((left, -result.history["objective"]), (right, norms)):
        rows = rows.reshape(result.steps, -1)
        axes.plot(steps, rows, color=_BLUE, alpha=0.35, lw=1)
        axes.plot(steps, rows[:, result.best_start], color=_BLUE, lw=2.2)
        axes.set_xlabel("step")
        _plain(axes)
    left.set(title="Leader value (bold: the best start)", ylabel="leader value")
    projected = "projected_gradient_norm" in result.history
    right.set(title=("Projected h" if projected else "H") + "yper-gradient", ylabel="norm")
    right.set_yscale("log")
    return figure


def _short(name: str) -> str:
    """A name as it fits beside an axis; no mathematics in it."""
    name = name if len(name) <= 40 else f"{name[:37]}..."
    return name.replace("$", r"\$")


def _plain(axes) -> None:
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.margins(y=0.02)
    axes.spines[["top", "right"]].set_visible(False)
