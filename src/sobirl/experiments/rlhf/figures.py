"""The figures of runs that learn from preferences."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from sobirl.deep.film import Film
from sobirl.experiments.rlhf.reward_map import RewardMap

_BLUE, _ORANGE = "#0173b2", "#de8f05"
_PICTURES = 8  # of an episode
_FEW = 10  # points of a curve, each of which is marked


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
            marker = "o" if len(steps) < _FEW else ""  # one alone makes no line
            alpha = 0.35 if len(curves) > 1 else 1
            axes.plot(steps, values, color=color, alpha=alpha, lw=1.2, marker=marker, ms=3)
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


def reward(env: str, method: str, found: RewardMap) -> Figure:
    """The learned reward over states, where the follower was, and the true reward there."""
    x, y = found.axes
    titles = list(found.rewards)
    values = np.stack(list(found.rewards.values()))
    shows_truth = np.ptp(found.true_reward) > 0
    columns = len(titles) + shows_truth
    figure = Figure(figsize=(3.9 * columns + 0.9, 3.9), layout="constrained")
    panels = figure.subplots(1, columns, squeeze=False, sharex=True, sharey=True)[0]
    for axes, title, table in zip(panels, titles, values, strict=False):
        image = axes.pcolormesh(
            x, y, table, vmin=values.min(), vmax=values.max(), cmap="viridis", rasterized=True
        )
        axes.scatter(*found.visited, s=2, color="white", alpha=0.35, linewidths=0)
        axes.set(title=f"learned, {title}")
    figure.colorbar(image, ax=panels[: len(titles)], label="learned reward", pad=0.01)
    if shows_truth:
        dots = panels[-1].scatter(*found.visited, s=5, c=found.true_reward, cmap="viridis")
        panels[-1].set(title="true, where the follower was")
        figure.colorbar(dots, ax=panels[-1], label="true reward", pad=0.01)
    for axes in panels:
        axes.set(xlabel=found.labels[0], xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    panels[0].set_ylabel(found.labels[1])
    figure.suptitle(f"{env}, {method}: white dots are steps of the follower")
    return figure


def episode(env: str, method: str, film: Film, rewards: np.ndarray) -> Figure:
    """An episode: pictures of it, and below them the learned and the true reward of every step."""
    steps = len(rewards)
    shown = np.unique(np.linspace(0, steps, min(_PICTURES, steps + 1)).round().astype(int))
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    grid = figure.add_gridspec(3, len(shown), height_ratios=(1.5, 1, 1))
    for column, step in enumerate(shown):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(film.pictures[step])
        axes.set_axis_off()
        axes.set_title(f"step {step}", fontsize=9)
    below = None
    for row, (label, values, color) in enumerate(
        (("learned", rewards, _ORANGE), ("true", film.reward, _BLUE)), start=1
    ):
        axes = below = figure.add_subplot(grid[row, :], sharex=below)
        axes.step(np.arange(steps + 1), [*values, values[-1]], where="post", color=color, lw=1.3)
        axes.set(ylabel=f"{label} reward", xlim=(0, max(steps, 1)))
        for step in shown:
            axes.axvline(step, color="0.85", lw=0.8, zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("step of the episode")
    figure.suptitle(f"{env}, {method}: an episode of {steps} steps")
    return figure


def _by_seed(history: dict[str, np.ndarray], name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of every seed the environment steps and the values there, where there are any."""
    known = np.isfinite(history[name])
    return [
        (history["environment_steps"][here], history[name][here])
        for seed in np.unique(history["seed"])
        if (here := known & (history["seed"] == seed)).any()
    ]
