"""Pictures of grid worlds, for whichever experiment has one."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle


def draw_cells(axes: Axes, free: np.ndarray, values: np.ndarray, **how) -> AxesImage:
    """A heat map of one number a free cell, with walls in gray; `how` goes to `imshow`."""
    table = np.full(free.shape, np.nan)
    table[free] = values
    axes.imshow(np.where(free, np.nan, 1.0), cmap="gray_r", vmin=0, vmax=1.6)
    image = axes.imshow(table, **how)
    axes.set(xticks=[], yticks=[])
    return image


def draw_moves(axes: Axes, free: np.ndarray, flow: np.ndarray, moves, labelled=()) -> None:
    """An arrow in every visited cell: the mean intended move, longer where more visits are.

    Args:
        axes: where.
        free: cells that are no walls (N,M); states are these in reading order.
        flow: visits of every state and action (S,A).
        moves: (down, right) of every action (A,2).
        labelled: cells (row, column) that carry a label in the place of an arrow.
    """
    visits = flow.sum(-1)
    down, right = (flow @ np.array(moves)).T / np.maximum(visits, 1e-12)
    length = (visits / visits.max()) ** 0.25
    seen = visits > 1e-3 * visits.max()
    rows, columns = np.nonzero(free)
    seen &= [cell not in labelled for cell in zip(rows, columns, strict=True)]
    axes.quiver(
        columns[seen],
        rows[seen],
        (right * length)[seen],
        (down * length)[seen],
        angles="xy",
        scale_units="xy",
        scale=1.3,
        width=0.006,
        color="#252525",
        pivot="mid",
    )


def mark(axes: Axes, cell: tuple[int, int], text: str, color: str) -> None:
    """A labelled frame around a cell."""
    row, column = cell
    corner = (column - 0.46, row - 0.46)
    axes.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, ec=color, lw=2))
    axes.text(column, row, text, color=color, ha="center", va="center", weight="bold", fontsize=8)
