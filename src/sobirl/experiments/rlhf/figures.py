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
        ("held_out_accuracy", "held-out preferences predicted"),
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


def _by_seed(history: dict[str, np.ndarray], name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of every seed the environment steps and the values there, where there are any."""
    known = np.isfinite(history[name])
    return [
        (history["environment_steps"][here], history[name][here])
        for seed in np.unique(history["seed"])
        if (here := known & (history["seed"] == seed)).any()
    ]
