"""Deep inverse reinforcement learning: the true return, which is never learned from."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

_BLUE, _ORANGE, _GREY = "#0173b2", "#de8f05", "#636363"


def learning(title: str, history: dict[str, np.ndarray], expert: float | None) -> Figure:
    """The policy's true return beside the demonstrations', and how likely it makes these."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    steps = history["environment_steps"]
    for axes, name, label, color in zip(
        figure.subplots(1, 2),
        ("true_return", "demonstrated"),
        ("true return of an episode", "log π of a demonstrated step"),
        (_BLUE, _ORANGE),
        strict=True,
    ):
        axes.plot(steps, history[name], color=color, lw=1.4)
        if name == "true_return" and expert is not None:
            axes.axhline(expert, color=_GREY, lw=1, ls="--", label="demonstrations")
            axes.legend(frameon=False)
        axes.set(xlabel="environment steps", ylabel=label)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    return figure
