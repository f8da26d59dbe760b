"""The Four Rooms map: incentives, and where the walker goes before and after."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from sobirl.experiments.grids import draw_cells, draw_moves, mark
from sobirl.problems.four_rooms import GOALS, MARKED, MOVES, START, cells, is_wall

_FLOW = LinearSegmentedColormap.from_list("flow", ["#ffffff", "#9ecae1", "#08519c"])
_PENALTY = LinearSegmentedColormap.from_list("penalty", ["#ffffff", "#fc9272", "#99000d"])


def incentives_and_flow(
    penalty: np.ndarray, flows: dict[str, np.ndarray], leader_values: dict[str, float]
) -> Figure:
    """Penalties on every cell, and the discounted visits and moves for every goal.

    Args:
        penalty: -I(s) (S,), in units of the goal's reward.
        flows: "before" and "after" -> discounted occupancy (goals, S, A).
        leader_values: "before" and "after" -> the designer's value.
    """
    goals = GOALS[: len(flows["before"])]
    figure = Figure(figsize=(5 + 3.75 * len(goals), 8), layout="constrained")
    grid = figure.add_gridspec(2, 1 + len(goals), width_ratios=(1.25, *[1] * len(goals)))
    axes = figure.add_subplot(grid[:, 0])
    image = _draw_map(axes, penalty, _PENALTY, None)
    axes.set_title(f"Incentives: penalties of {penalty.sum():.3f} in all", fontsize=12)
    for (row, column), amount in zip(cells(), penalty, strict=True):
        if amount >= 0.02 * penalty.sum():
            colour = "white" if amount > 0.6 * penalty.max() else "black"
            axes.text(
                column, row, f"{amount:.3f}"[1:], ha="center", va="center", fontsize=7, color=colour
            )
    figure.colorbar(image, ax=axes, location="bottom", shrink=0.8, label="penalty, -I(s)")
    for goal in goals:
        mark(axes, goal, "G", "#238b45")

    norm = PowerNorm(0.4, vmin=0, vmax=max(flow.sum(-1).max() for flow in flows.values()))
    for row, (moment, flow) in enumerate(flows.items()):
        for column, goal in enumerate(goals):
            axes = figure.add_subplot(grid[row, column + 1])
            image = _draw_map(axes, flow[column].sum(-1), _FLOW, norm)
            draw_moves(axes, ~is_wall(), flow[column], MOVES, (START, MARKED, *GOALS))
            mark(axes, goal, "G", "#238b45")
            axes.set_title(f"{moment}, goal {goal}", fontsize=11)
            if column == 0:
                axes.set_ylabel(f"leader value {leader_values[moment]:.3f}", fontsize=11)
    figure.colorbar(
        image,
        ax=figure.axes[2:],
        location="bottom",
        shrink=0.3 * (1 + len(goals)) / 1.5,
        aspect=20 * len(goals),
        ticks=[0, 0.1, 0.5, 1, 2, 4],
        label="discounted visits; arrows: the walker's mean move",
    )
    return figure


def _draw_map(axes, values: np.ndarray, colours, norm):
    """A heat map of one number a free cell, with the walls, the start and the marked cell."""
    image = draw_cells(axes, ~is_wall(), values, cmap=colours, norm=norm)
    mark(axes, START, "S", "black")
    mark(axes, MARKED, "+1", "#d94801")
    return image


def starts(leader_values: np.ndarray, best: int, published: dict[str, float] | None) -> Figure:
    """The leader value of every start by step, beside the published values.

    Args:
        leader_values: (steps, starts), NaN while a continuation softens the walker.
        best: the start that found the best value.
        published: method -> published leader value, if any.
    """
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    steps = np.arange(1, len(leader_values) + 1)
    axes.plot(steps, leader_values, color="tab:blue", alpha=0.4, lw=1)
    axes.plot(steps, leader_values[:, best], color="tab:blue", lw=2.5, label="sobirl, best start")
    axes.plot([], [], color="tab:blue", alpha=0.4, lw=1, label="sobirl, other starts")
    styles = (("tab:orange", "--"), ("tab:green", "-."), ("tab:red", ":"))
    for (method, value), (colour, style) in zip((published or {}).items(), styles, strict=False):
        axes.axhline(value, ls=style, color=colour, label=f"{method}, published: {value:.2f}")
    axes.set(xlabel="step", ylabel="leader value")
    axes.set_title("Curves begin when the walker has the problem's own temperature", fontsize=10)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
