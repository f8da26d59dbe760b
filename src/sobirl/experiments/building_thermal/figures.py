"""The building before and after, and what becomes of it under its controller."""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

_COLORS = {"before": "#9ecae1", "after": "#d94801"}
# Corners of the zones in the ring, and where neighbors meet.
_CORNERS = ((0, 1), (1, 1), (1, 0), (0, 0))
_DOORS = ((1, 1.5), (1.5, 1), (1, 0.5), (0.5, 1))
_SHOWN = 40


class Course(NamedTuple):
    """A building: α (4,) and β (4,); and E var(s_t) and E |u_t|² (100,)."""

    insulation: np.ndarray
    coupling: np.ndarray
    unevenness: np.ndarray
    energy: np.ndarray


def building(courses: dict[str, Course], returns: dict[str, float]) -> Figure:
    """Plans of both buildings, and unevenness and energy step by step.

    Args:
        courses: "before" and "after".
        returns: "before" and "after" -> the designer's return.
    """
    figure = Figure(figsize=(13, 4), layout="constrained")
    *plans, uneven, energy = figure.subplots(1, 4)
    for axes, (moment, course) in zip(plans, courses.items(), strict=True):
        _draw_plan(axes, course)
        axes.set_title(f"{moment}: return {returns[moment]:.1f}", fontsize=11)
    for moment, course in courses.items():
        style = {"color": _COLORS[moment], "lw": 2, "label": moment}
        uneven.semilogy(course.unevenness[:_SHOWN], **style)
        energy.semilogy(course.energy[:_SHOWN], **style)
    uneven.set_title("Expected variance over zones", fontsize=11)
    energy.set_title("Expected energy $|u|^2$", fontsize=11)
    for axes in (uneven, energy):
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    uneven.legend(frameon=False)
    return figure


def _draw_plan(axes, course: Course) -> None:
    """Zones whose outer walls are as thick as they are insulated, with doors between them."""
    middle = np.ones(2)
    for zone, (corner, rate) in enumerate(zip(_CORNERS, course.insulation, strict=True), start=1):
        axes.add_patch(Rectangle(corner, 1, 1, facecolor="#f7f7f7", edgecolor="#969696", lw=1))
        far = 2 * np.array(corner)  # the outer corner
        for axis in (0, 1):
            end = far.copy()
            end[axis] = 1
            axes.plot(*zip(far, end, strict=True), color="#54278f", lw=0.5 + 9 * rate, zorder=3)
        center = np.array(corner) + 0.5 + 0.12 * (far - middle)
        axes.text(*center, f"zone {zone}\nα = {rate:.2f}", ha="center", va="center", fontsize=9)
    for number, (place, rate) in enumerate(zip(_DOORS, course.coupling, strict=True)):
        way = np.array([0.16, 0]) if number % 2 == 0 else np.array([0, 0.16])
        ends = zip(np.array(place) - way, np.array(place) + way, strict=True)
        axes.plot(*ends, color="#238b45", lw=0.5 + 14 * rate, solid_capstyle="butt", zorder=2)
        aside = np.array([0, -0.17]) if number % 2 == 0 else np.array([0.26, 0])
        label = np.array(place) + aside
        axes.text(*label, f"β {rate:.2f}", color="#00441b", ha="center", va="center", fontsize=8)
    axes.set(xlim=(-0.1, 2.1), ylim=(-0.1, 2.1), aspect="equal")
    axes.set_axis_off()
