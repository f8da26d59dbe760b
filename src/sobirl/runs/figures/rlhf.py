"""The figures of runs that learn from preferences."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

_BLUE, _ORANGE = "#0173b2", "#de8f05"


def learning(env: str, method: str, history: dict[str, np.ndarray]) -> Figure:
    """The true return, how well the reward predicts preferences, and the implicit term's share."""
    panels = [("eval_return", "true return (evaluations)", _BLUE)]
    for name, label in (
        ("preference_accuracy", "preferences predicted"),
        ("implicit_ratio", "implicit over explicit gradient"),
    ):
        if name in history and np.isfinite(history[name]).any() and np.any(history[name]):
            panels.append((name, label, _ORANGE))
    figure = Figure(figsize=(4.6 * len(panels), 3.4), layout="constrained")
    for axes, (name, label, color) in zip(
        figure.subplots(1, len(panels), squeeze=False).flat, panels, strict=True
    ):
        curves = _by_seed(history, name)
        for steps, values in curves:
            axes.plot(steps, values, color=color, alpha=0.35 if len(curves) > 1 else 1, lw=1.2)
        if len(curves) > 1:
            steps = curves[0][0]
            together = np.array([np.interp(steps, *curve) for curve in curves])
            axes.plot(steps, together.mean(axis=0), color=color, lw=2.2)
        axes.set(xlabel="environment steps", ylabel=label)
        if name == "implicit_ratio":
            axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{env}, {method}")
    return figure


def comparison(problem: str, runs: dict[str, dict[str, np.ndarray]]) -> Figure:
    """The true return and the preferences predicted: means over seeds, bands of a standard error.

    Args:
        problem: its name.
        runs: name of the run -> the columns of its metrics, perhaps none yet.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    names = ("eval_return", "preference_accuracy")
    for axes, name in zip(figure.subplots(1, 2), names, strict=True):
        for number, (label, history) in enumerate(runs.items()):
            curves = _by_seed(history, name) if name in history else []
            if curves:
                steps = curves[0][0]
                values = np.array([np.interp(steps, *curve) for curve in curves])
                mean, error = values.mean(axis=0), values.std(axis=0) / np.sqrt(len(values))
                axes.plot(steps, mean, color=f"C{number}", label=label)
                axes.fill_between(
                    steps, mean - error, mean + error, color=f"C{number}", alpha=0.2, lw=0
                )
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(xlabel="environment steps")
    figure.axes[0].set(title=f"{problem}: true return", ylabel="mean return of an evaluation")
    figure.axes[1].set(title="preferences predicted", ylabel="share of the labelled pairs")
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(),
        loc="outside lower center",
        frameon=False,
        ncols=4,
    )
    return figure


def _by_seed(history: dict[str, np.ndarray], name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of every seed the environment steps and the values there, where there are any."""
    known = np.isfinite(history[name])
    return [
        (history["environment_steps"][here], history[name][here])
        for seed in np.unique(history["seed"])
        if (here := known & (history["seed"] == seed)).any()
    ]
