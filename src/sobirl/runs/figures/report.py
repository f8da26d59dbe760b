"""Runs of one problem side by side."""

import numpy as np
from matplotlib.figure import Figure

_STYLES = ("-", "--", "-.", ":")
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


def curves(problem: str, runs: dict[str, dict[str, np.ndarray]]) -> Figure:
    """The objective and the norm that must vanish, by step.

    Args:
        problem: its name.
        runs: name of the run -> the columns of its metrics, perhaps none yet.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, (name, metrics) in enumerate(runs.items()):
        steps = metrics.get("step", np.zeros(0))
        style = {
            "color": _COLORS[number % len(_COLORS)],
            "ls": _STYLES[number // len(_COLORS) % len(_STYLES)],
            "marker": "o" if len(steps) < 20 else None,
            "ms": 3,
        }
        norms = metrics.get("projected_gradient_norm", metrics.get("hypergradient_norm", steps))
        left.plot(steps, metrics.get("objective", steps), label=name, **style)
        right.plot(steps, np.where(norms > 0, norms, np.nan), **style)
    left.set(title=f"{problem}: objective", xlabel="step", ylabel="objective")
    right.set(title="hyper-gradient (projected, if x is constrained)", xlabel="step")
    right.set(ylabel="norm", yscale="log")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", frameon=False, ncols=min(len(runs), 4))
    return figure
