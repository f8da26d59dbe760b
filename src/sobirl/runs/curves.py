"""Runs of one problem side by side, as curves."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLES = ("-", "--", "-.", ":")
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
# Beyond this ratio of lengths the shorter runs would be lost on a linear axis.
_UNLIKE = 8

Columns: TypeAlias = "dict[str, np.ndarray]"


@dataclasses.dataclass(frozen=True, init=False)
class Curve:
    """One panel of a report.

    Attributes:
        columns: of `metrics.csv`; the first that a run has is drawn.
        label: of the vertical axis; by default the first column's name.
        log: whether that axis is logarithmic.
        x: the column along the horizontal axis.
        by: a column that tells repetitions apart, for example `seed`: what is drawn then is their
            mean, with a band of one standard error.
    """

    columns: tuple[str, ...]
    label: str
    log: bool
    x: str
    by: str | None

    def __init__(
        self,
        *columns: str,
        label: str | None = None,
        log: bool = False,
        x: str = "step",
        by: str | None = None,
    ):
        for name, value in (
            ("columns", columns),
            ("label", label or columns[0].replace("_", " ")),
            ("log", log),
            ("x", x),
            ("by", by),
        ):
            object.__setattr__(self, name, value)

    def of(self, metrics: Columns) -> "tuple[np.ndarray, np.ndarray, np.ndarray] | None":
        """What is drawn of a run: x, the mean, and its standard error; None if it has nothing."""
        import numpy as np

        column = next((name for name in self.columns if name in metrics), None)
        if column is None or self.x not in metrics:
            return None
        repetitions = []
        names = metrics[self.by] if self.by in metrics else np.zeros(len(metrics[column]))
        for name in np.unique(names):
            rows = (names == name) & np.isfinite(metrics[column])
            if rows.any():
                repetitions.append((metrics[self.x][rows], metrics[column][rows]))
        if not repetitions:
            return None
        x = repetitions[0][0]
        values = np.array([np.interp(x, *repetition) for repetition in repetitions])
        return x, values.mean(axis=0), values.std(axis=0) / np.sqrt(len(values))


def draw_curves(problem: str, curves: Sequence[Curve], runs: dict[str, Columns]) -> "Figure":
    """A panel for every curve, a line for every run.

    Args:
        problem: its name.
        curves: the panels.
        runs: name of the run -> the columns of its metrics, perhaps none yet.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(curves), 4.2), layout="constrained")
    for axes, curve in zip(
        figure.subplots(1, len(curves), squeeze=False).flat, curves, strict=True
    ):
        _draw_panel(axes, curve, runs)
    figure.suptitle(problem)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    # Names of runs may be paths: as many beside one another as the figure is wide for.
    beside = max(1, int(80 * len(curves) / 2 / (8 + max(map(len, labels), default=1))))
    figure.legend(handles, labels, loc="outside lower center", frameon=False, ncols=beside)
    return figure


def style(number: int) -> dict[str, Any]:
    """How the line of that number is drawn, for `Axes.plot`."""
    return {"color": _COLORS[number % len(_COLORS)], "ls": _STYLES[number // len(_COLORS) % 4]}


def draw_history(curves: Sequence[Curve], name: str, history: Columns) -> "Figure":
    """The curves of one run, whose rows are those of steps 1, 2, ..."""
    import numpy as np

    steps = np.arange(1.0, 1 + len(next(iter(history.values()))))
    return draw_curves(name, curves, {name: {"step": steps, **history}})


def _draw_panel(axes: "Axes", curve: Curve, runs: dict[str, Columns]) -> None:
    import numpy as np
    from matplotlib.ticker import EngFormatter

    lengths = []
    for number, (name, metrics) in enumerate(runs.items()):
        how = style(number)
        x, mean, error = curve.of(metrics) or (np.zeros(0),) * 3
        if curve.log:
            mean = np.where(mean > 0, mean, np.nan)
        marker = "o" if len(x) < 20 else None
        axes.plot(x, mean, marker=marker, ms=3, label=name, **how)
        if np.any(error > 0):
            axes.fill_between(x, mean - error, mean + error, color=how["color"], alpha=0.2, lw=0)
        lengths += [x[-1]] if len(x) else []
    axes.set(xlabel=curve.x.replace("_", " "), ylabel=curve.label)
    if lengths and max(lengths) > _UNLIKE * min(lengths) > 0:
        axes.set_xscale("log")
    elif lengths and max(lengths) >= 10_000:
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if curve.log:
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
