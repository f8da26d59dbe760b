"""The maze: tolls, and where the walkers go before and after."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from sobirl.problems.maze import Maze

_FLOW = LinearSegmentedColormap.from_list("flow", ["#ffffff", "#9ecae1", "#08519c"])
_TOLL = LinearSegmentedColormap.from_list("toll", ["#ffffff", "#fc9272", "#99000d"])
_QUIET = "#238b45"
# Cells on a side that a panel can show; of larger mazes squares of cells are drawn.
_MOST = 200


def tolls_and_flow(maze: Maze, tolls: np.ndarray, before, after) -> Figure:
    """Visits without tolls, the tolls, and visits with them.

    Args:
        maze: the maze.
        tolls: x (n,n).
        before, after: what walkers do, with `visits` (S,), `share` and `steps`.
    """
    figure = Figure(figsize=(13, 4.9), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    flows = [_coarse(maze.on_map(np.asarray(w.visits))) for w in (before, after)]
    top = max(np.nanpercentile(flow, 99.5) for flow in flows)
    norm = PowerNorm(0.4, vmin=0, vmax=top)
    for axes, flow, walkers, moment in zip(
        (left, right), flows, (before, after), ("Without tolls", "With tolls"), strict=True
    ):
        image = _draw_map(axes, maze, flow, cmap=_FLOW, norm=norm)
        axes.set_title(
            f"{moment}: {float(walkers.share):.0%} through the quiet quarter,\n"
            f"{walkers.steps:.0f} steps to the goal in the mean",
            fontsize=11,
        )
        figure.colorbar(
            image,
            ax=axes,
            location="bottom",
            shrink=0.8,
            label="visits of a cell, a walker",
            ticks=MaxNLocator(3),  # large ones are close together
        )
    toll = tolls[maze.block_of[:, None], maze.block_of]
    image = _draw_map(middle, maze, _coarse(np.where(maze.free, toll, np.nan)), cmap=_TOLL, vmin=0)
    middle.set_title(f"Tolls, {tolls.sum():.3g} in all", fontsize=11)
    figure.colorbar(
        image, ax=middle, location="bottom", shrink=0.8, label="toll a step, in a step's own cost"
    )
    return figure


def _coarse(table: np.ndarray) -> np.ndarray:
    """Means over squares of free cells, so many that at most `_MOST` are on a side."""
    width = -(-len(table) // _MOST)
    size = -(-len(table) // width) * width
    padded = np.full((size, size), np.nan)
    padded[: len(table), : len(table)] = table
    squares = padded.reshape(size // width, width, size // width, width)
    seen = np.isfinite(squares)
    total = np.where(seen, squares, 0.0).sum((1, 3))
    count = seen.sum((1, 3))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _draw_map(axes, maze: Maze, table: np.ndarray, **how):
    """A heat map with the walls, the quiet quarter, the entrances and the goal."""
    size = len(maze.free)
    extent = (-0.5, size - 0.5, size - 0.5, -0.5)
    walls = np.where(np.isnan(table), 1.0, np.nan)
    axes.imshow(walls, cmap="gray_r", vmin=0, vmax=2.2, extent=extent, interpolation="nearest")
    image = axes.imshow(table, extent=extent, interpolation="nearest", **how)
    rows = np.flatnonzero(maze.is_quiet.any(1))
    first, width = rows[0] - 0.5, len(rows)
    axes.add_patch(Rectangle((first, first), width, width, fill=False, ec=_QUIET, lw=1.8))
    axes.text(
        first + width / 2, first, "quiet", color=_QUIET, ha="center", va="bottom", weight="bold"
    )
    goal, column = maze.goal
    axes.plot(column, goal, "*", color="#d94801", ms=13, clip_on=False, zorder=3)
    axes.set(xticks=[], yticks=[])
    axes.set_ylabel("entrances", fontsize=9)
    axes.spines[:].set_color("#bbbbbb")
    return image
