"""The figures of runs that design incentives."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

if TYPE_CHECKING:
    from sobirl.experiments.rlhf.reward_map import RewardMap

_BLUE, _ORANGE, _GREEN = "#0173b2", "#de8f05", "#029e73"
_PANELS = (
    ("leader_return", "leader's return", _BLUE),
    ("follower_return", "follower's return without incentives", _ORANGE),
    ("spent", "mean size of incentives", _GREEN),
)


def learning(title: str, history: dict[str, np.ndarray], first: int) -> Figure:
    """Both levels and what is spent, round by round; `first` is that of the leader's first step."""
    figure = Figure(figsize=(4.6 * len(_PANELS), 3.4), layout="constrained")
    steps = history["environment_steps"]
    for axes, (name, label, color) in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
        values = history[name]
        axes.plot(steps, values, color=color, alpha=0.3, lw=0.8)
        axes.plot(steps, _smoothed(values), color=color, lw=1.8)
        if first < len(steps):
            axes.axvline(steps[first], color="0.6", lw=0.8, ls="--")
        axes.set(xlabel="environment steps", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{title} (dashed: the leader's first step)")
    return figure


def over_features(title: str, found: "RewardMap") -> Figure:
    """The incentives over two features of what is observed, and where the follower was."""
    x, y = found.axes
    tables = list(found.rewards.values())
    most = max(float(np.abs(tables).max()), 1e-9)
    figure = Figure(figsize=(3.9 * len(tables) + 0.9, 3.9), layout="constrained")
    panels = figure.subplots(1, len(tables), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (word, table) in zip(panels, found.rewards.items(), strict=True):
        image = axes.pcolormesh(
            x, y, table, vmin=-most, vmax=most, cmap="RdBu", rasterized=True, shading="nearest"
        )
        axes.scatter(*found.visited, s=2, color="black", alpha=0.25, linewidths=0)
        axes.set(title=word, xlabel=found.labels[0], xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    panels[0].set_ylabel(found.labels[1])
    figure.colorbar(image, ax=list(panels), label="incentive (blue is paid, red is charged)")
    figure.suptitle(f"{title}: dots are steps of the follower")
    return figure


def table(
    title: str, incentives: Float[np.ndarray, "S A"], shares: Float[np.ndarray, "S"]
) -> Figure:
    """The incentives of numbered states and actions, and how often the follower is where."""
    most = max(float(np.abs(incentives).max()), 1e-9)
    figure = Figure(figsize=(min(4 + 0.12 * len(shares), 14), 3.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    image = above.imshow(
        incentives.T, aspect="auto", vmin=-most, vmax=most, cmap="RdBu", interpolation="nearest"
    )
    above.set_ylabel("action")
    above.yaxis.set_major_locator(MaxNLocator(integer=True))
    below.bar(np.arange(len(shares)), shares, color="0.4", width=1)
    below.set(xlabel="state", ylabel="share of steps")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(image, ax=above, label="blue is paid,\nred is charged")
    figure.suptitle(title)
    return figure


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Means over a tenth of the rounds that came before."""
    width = max(len(values) // 10, 1)
    total = np.cumsum(np.insert(np.nan_to_num(values), 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(ends - width, 0)
    return (total[ends] - total[begins]) / (ends - begins)
