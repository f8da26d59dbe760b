"""Profile likelihoods: how much a parameter's value costs when the others make the best of it."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.special
from jaxtyping import Float

from sobirl.core.errors import ConvergenceError, InvalidInputError

if TYPE_CHECKING:
    from sobirl.estimation.result import ChoiceResult


@dataclasses.dataclass(frozen=True)
class Profile:
    """The likelihood over one parameter.

    Attributes:
        name: of the parameter.
        points: its values (m,), increasing.
        log_likelihood: maximized over the other parameters (m,); NaN where that failed.
        best: the estimate and the log-likelihood there.
    """

    name: str
    points: Float[np.ndarray, "m"]
    log_likelihood: Float[np.ndarray, "m"]
    best: tuple[float, float]

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The values that a likelihood-ratio test does not reject; NaN for an end beyond the grid.

        Between the points the signed root of the ratio is interpolated, which is nearly a line.
        """
        if not 0 < level < 1:
            raise InvalidInputError(f"level: must lie between 0 and 1, got {level}")
        center, top = self.best
        good = np.isfinite(self.log_likelihood)
        points = self.points[good]
        root = np.sqrt(2 * np.maximum(top - self.log_likelihood[good], 0.0))
        signed = np.sign(points - center) * root
        order = np.argsort(np.append(points, center))
        points, signed = np.append(points, center)[order], np.append(signed, 0.0)[order]
        reach = float(np.sqrt(scipy.special.chdtri(1, 1 - level)))

        def crossing(sign: int) -> float:
            side = sign * signed
            inside = np.flatnonzero((side >= 0) & (sign * (points - center) >= 0))
            if not len(inside) or side[inside].max() < reach:
                return float("nan")
            order = np.argsort(sign * points[inside])
            return float(np.interp(reach, side[inside][order], points[inside][order]))

        return crossing(-1), crossing(1)


def profile(result: "ChoiceResult", name: str, points: Any = 11, width: float = 3.0) -> Profile:
    """The profile likelihood of a parameter.

    Args:
        result: the estimate.
        name: as in `result.names`.
        points: values (m,), or how many, evenly spread over `width` standard errors on each side.
        width: see there.

    Raises:
        InvalidInputError: no such parameter, or one held fixed.
    """
    (place,) = result._places([name])
    if not result.moving[place]:
        raise InvalidInputError(f"{name}: is held fixed")
    center = float(result.values[place])
    if isinstance(points, (int, np.integer)):
        if points < 2 or not width > 0:
            raise InvalidInputError(
                f"points: expected at least 2 and a positive width, got {points}"
            )
        half = width * result.standard_errors[place]
        points = np.linspace(center - half, center + half, int(points))
    values = np.sort(np.asarray(points, np.float64))
    moving = result.moving.copy()
    moving[place] = False
    free = {name: np.asarray(m) for name, m in result.layout.parameters(moving).items()}
    problem, task = result.found.problem, dataclasses.replace(result.task, free=free)
    heights = np.full(len(values), np.nan)
    for side in (values >= center, values < center):
        vector = result.values.copy()
        rows = np.flatnonzero(side)
        for row in rows if values[rows].size and values[rows][0] >= center else rows[::-1]:
            vector[place] = values[row]
            try:
                if moving.any():
                    found = task.minimize(problem, result.layout.parameters(vector))
                    vector = result.layout.vector(found.x)
                    heights[row] = -found.objective
                else:
                    heights[row] = -float(problem.value(result.layout.parameters(vector)))
            except ConvergenceError:
                break
    return Profile(name, values, heights, (center, result.log_likelihood))
