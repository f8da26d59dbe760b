"""Where the walker goes without hints and with them, and the hints."""

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from sobirl.experiments.grids import draw_cells, draw_moves, mark
from sobirl.problems.four_rooms import MOVES, is_wall
from sobirl.problems.reward_shaping import GOAL, START


def paths(
    hints: np.ndarray, visits: np.ndarray, leader_returns: tuple[float, float], form: str
) -> Figure:
    """Visits without hints, the hints, and visits with them.

    Args:
        hints: x (104,).
        visits: of the walker without and with hints (2,104,4), discounted.
        leader_returns: without and with hints.
        form: what x means.
    """
    free = ~is_wall()
    figure = Figure(figsize=(13, 4.9), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    norm = PowerNorm(0.4, vmin=0, vmax=visits.sum(-1).max())
    for axes, flow, leader_return, moment in zip(
        (left, right), visits, leader_returns, ("Without hints", "With hints"), strict=True
    ):
        image = draw_cells(axes, free, flow.sum(-1), cmap="Blues", norm=norm)
        draw_moves(axes, free, flow, MOVES)
        axes.set_title(f"{moment}: leader's return {leader_return:.3f}", fontsize=11)
        bar = {"location": "bottom", "shrink": 0.8, "ticks": [0, 0.1, 0.5, 1, 2]}
        figure.colorbar(image, ax=axes, label="discounted visits", **bar)
    most = max(float(np.abs(hints).max()), 1e-12)
    image = draw_cells(middle, free, hints, cmap="PuOr", vmin=-most, vmax=most)
    middle.set_title("What a cell pays" if form == "free" else "Potential", fontsize=11)
    figure.colorbar(image, ax=middle, location="bottom", shrink=0.8, label="x")
    for axes in (left, middle, right):
        mark(axes, START, "S", "black")
        mark(axes, GOAL, "G", "#238b45")
    return figure
