"""The figures of `bench_rlhf.py`: true returns while rewards are learned."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

Curve = tuple[np.ndarray, np.ndarray]  # steps (T,), values (seeds,T)

COLORS = {
    "ground-truth": "#555555",
    "drlhf": "#de8f05",
    "sobirl": "#0173b2",
    "horizon 10": "#029e73",
    "horizon full": "#cc78bc",
}
LABELS = {
    "ground-truth": "true reward",
    "drlhf": "DRLHF (no implicit term)",
    "sobirl": "SoBiRL (horizon 0)",
    "horizon 10": "SoBiRL, horizon 10",
    "horizon full": "SoBiRL, full tails",
}


def learning_figure(panels: dict[str, dict[str, Curve]]) -> Figure:
    """A panel an environment, a curve a method: means over seeds, bands of a standard error."""
    panels = {env: curves for env, curves in panels.items() if curves}
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.3 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for env, panel in zip(panels, axes, strict=False):
        _draw(panel, env, panels[env])
    for panel in axes[len(panels) :]:
        panel.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def ablation_figure(env: str, curves: dict[str, Curve]) -> Figure:
    """One panel, with a legend in it."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    _draw(axes, f"{env}: how much of the implicit term", curves)
    axes.legend(frameon=False)
    return figure


def _draw(axes, title: str, curves: dict[str, Curve]) -> None:
    for name, (steps, values) in curves.items():
        mean, error = values.mean(axis=0), values.std(axis=0) / np.sqrt(len(values))
        axes.plot(steps, mean, color=COLORS[name], label=LABELS[name])
        axes.fill_between(steps, mean - error, mean + error, color=COLORS[name], alpha=0.2, lw=0)
    axes.set(title=title, xlabel="environment steps", ylabel="true return")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
