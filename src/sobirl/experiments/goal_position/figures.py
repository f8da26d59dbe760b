"""The leader's value by where the goal is, and the ways to two goals."""

import numpy as np
from matplotlib.colors import PowerNorm, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sobirl.experiments.grids import draw_cells, draw_moves
from sobirl.problems.goal_position import MOVES, GoalPosition

_GARDEN, _PLAZA = "#d94801", "#238b45"


def landscape(
    instance: GoalPosition,
    values: np.ndarray,
    goals: tuple[np.ndarray, np.ndarray],
    visits: np.ndarray,
) -> Figure:
    """The landscape, and where walkers go for the first goal and for the last.

    Args:
        instance: the instance.
        values: the leader's value for goals on a grid (M,M).
        goals: the first and the last (2,).
        visits: of the walker under both (2,S,A), discounted.
    """
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    left, *maps = figure.subplots(1, 3)
    side = instance.size - 1
    edge = side / (len(values) - 1) / 2
    extent = (-edge, side + edge, side + edge, -edge)
    ends = min(values.min(), -1e-3), 0.0, max(values.max(), 1e-3)
    slopes = TwoSlopeNorm(0, ends[0], ends[-1])
    image = left.imshow(values, extent=extent, cmap="RdBu", norm=slopes)
    left.annotate(
        "",
        goals[1][::-1],
        goals[0][::-1],
        arrowprops={"arrowstyle": "->", "color": "black", "lw": 1.5},
    )
    for goal, marker in zip(goals, ("o", "*"), strict=True):
        left.plot(*goal[::-1], marker, color="black", ms=10, mfc="white", clip_on=False, zorder=3)
    left.set(title="Leader's value by the goal's place", xlabel="column", ylabel="row")
    bar = figure.colorbar(image, ax=left, location="bottom", shrink=0.8, ticks=ends)
    bar.set_ticklabels([f"{end:.2f}" for end in ends])
    free = np.ones((instance.size, instance.size), bool)
    norm = PowerNorm(0.4, vmin=0, vmax=visits.sum(-1).max())
    for axes, flow, goal, moment in zip(maps, visits, goals, ("First", "Last"), strict=True):
        image = draw_cells(axes, free, flow.sum(-1), cmap="Blues", norm=norm)
        draw_moves(axes, free, flow[:, :4], MOVES[:4])
        for cells, color in ((instance.garden, _GARDEN), (instance.plaza, _PLAZA)):
            _frame(axes, cells, color)
        axes.plot(*goal[::-1], "*", color="black", ms=13, mfc="white")
        axes.set_title(f"{moment} goal, the walker's visits", fontsize=11)
        figure.colorbar(image, ax=axes, location="bottom", shrink=0.8, ticks=[0, 0.1, 1, 5, 15])
    maps[0].text(0, -0.08, "orange: garden, green: plaza", transform=maps[0].transAxes, fontsize=9)
    return figure


def _frame(axes, cells: np.ndarray, color: str) -> None:
    """A frame around a rectangle of cells."""
    rows, columns = np.nonzero(cells)
    corner = (columns.min() - 0.5, rows.min() - 0.5)
    width, height = (float(np.ptp(place)) + 1 for place in (columns, rows))
    axes.add_patch(Rectangle(corner, width, height, fill=False, ec=color, lw=2.5))
