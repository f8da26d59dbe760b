"""Steps of a trust-region Newton method over the free entries of x, in NumPy."""

import dataclasses
from collections.abc import Callable

import numpy as np

# Eigenvalues of a Hessian scaled to unit diagonal count as zero below this: the implicit solve
# with a discount of 0.9999 leaves relative errors of about 1e-11 in the second derivatives.
FLAT = 1e-10


@dataclasses.dataclass(frozen=True)
class Curvature:
    """A Hessian H by the eigenvalues of D H D, D = diag(scale) making its diagonal ±1."""

    scale: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray

    @classmethod
    def of(cls, hessian: np.ndarray) -> "Curvature":
        """The curvature of a symmetric matrix."""
        diagonal = np.abs(np.diag(hessian))
        # What round-off leaves of a parameter without effect, 1e-63 say, is no curvature.
        curved = diagonal > np.finfo(float).eps ** 2 * np.max(diagonal)
        scale = 1 / np.sqrt(np.where(curved, diagonal, 1.0))
        scaled = np.where(curved[:, None] & curved, scale[:, None] * hessian * scale, 0.0)
        return cls(scale, *np.linalg.eigh(scaled))

    @property
    def smallest(self) -> float:
        """The smallest eigenvalue at unit diagonal."""
        return float(self.eigenvalues[0])

    @property
    def whitening(self) -> np.ndarray:
        """W with Wᵀ H W = diag(±1), flat directions aside."""
        size = np.maximum(np.abs(self.eigenvalues), 1e-6)
        return self.scale[:, None] * self.eigenvectors / np.sqrt(size)

    def inverse(self) -> np.ndarray:
        """H⁻¹, without the directions in which H is zero."""
        curved = np.abs(self.eigenvalues) > FLAT
        inverse = np.where(curved, 1 / np.where(curved, self.eigenvalues, 1.0), 0.0)
        root = self.scale[:, None] * self.eigenvectors
        return (root * inverse) @ root.T


@dataclasses.dataclass(frozen=True)
class Point:
    """φ and its derivatives over the free entries z."""

    z: np.ndarray
    objective: float
    gradient: np.ndarray
    hessian: np.ndarray
    curvature: Curvature
    status: int

    @property
    def norm(self) -> float:
        """‖∇φ‖₂ over the free entries."""
        return float(np.linalg.norm(self.gradient))

    @property
    def is_convex(self) -> bool:
        """Whether no direction has negative curvature."""
        return self.curvature.smallest > -FLAT

    def is_resolved(self) -> bool:
        """Whether a Newton step changes φ by no more than a few digits above its round-off."""
        promised = float(self.gradient @ self.curvature.inverse() @ self.gradient) / 2
        return self.is_convex and promised < 1e-10 * max(1, abs(self.objective))


class Target:
    """φ as a function of the free entries; the last few points are remembered."""

    def __init__(self, evaluate: Callable, start: np.ndarray, moving: np.ndarray):
        self.evaluate, self.start, self.moving = evaluate, start, moving
        self.memory: dict[bytes, tuple[Point, tuple]] = {}

    def __call__(self, z: np.ndarray) -> Point:
        """φ and its derivatives at z."""
        return self._at(z)[0]

    def full(self, point: Point) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, ∇φ and ∇²φ over all entries."""
        return self._at(point.z)[1]

    def _at(self, z):
        if z.tobytes() in self.memory:
            return self.memory[z.tobytes()]
        x = self.start.copy()
        x[self.moving] = z
        objective, gradient, hessian, status = (np.asarray(out) for out in self.evaluate(x))
        hessian = (hessian + hessian.T) / 2
        if status:  # not a point to stop at: any step to it is taken back
            objective, gradient, hessian = np.inf, np.zeros_like(x), np.eye(len(x))
        block = hessian[np.ix_(self.moving, self.moving)]
        point = Point(
            z.copy(),
            float(objective),
            gradient[self.moving],
            block,
            Curvature.of(block),
            int(status),
        )
        if len(self.memory) > 4:
            del self.memory[next(iter(self.memory))]
        self.memory[z.tobytes()] = point, (x, gradient, hessian)
        return self.memory[z.tobytes()]


def all_steps(target: Target, first: Point, tolerance: float, max_steps: int) -> list[Point]:
    """The points after every step."""
    points = []
    while True:
        last = points[-1] if points else first
        points += _trust_region(target, last, tolerance, max_steps - len(points))
        last = points[-1] if points else first
        if last.norm >= tolerance or last.is_convex or len(points) == max_steps:
            break
        off = _leave_saddle(target, last)
        if off is None:
            break
        points.append(off)
    return points + _polish(target, last, tolerance, max_steps - len(points))


def _trust_region(target: Target, first: Point, tolerance: float, max_steps: int) -> list[Point]:
    """The points of scipy's `trust-exact`, until the gradient is small or φ is resolved."""
    if max_steps < 1 or first.norm < tolerance or first.is_resolved():
        return []
    import scipy.optimize  # here, because it takes 0.3 s to load

    whitening = first.curvature.whitening
    points = []

    def at(y):
        return target(first.z + whitening @ y)

    def record(intermediate_result):
        points.append(at(intermediate_result.x))
        if points[-1].norm < tolerance or points[-1].is_resolved():
            raise StopIteration

    # The length of a Newton step from x0, within reason.
    radius = np.clip(np.linalg.norm(whitening.T @ first.gradient), 1.0, 100.0)
    scipy.optimize.minimize(
        lambda y: at(y).objective,
        np.zeros(len(first.z)),
        method="trust-exact",
        jac=lambda y: whitening.T @ at(y).gradient,
        hess=lambda y: whitening.T @ at(y).hessian @ whitening,
        callback=record,
        options={
            "gtol": 0.0,
            "maxiter": max_steps,
            "initial_trust_radius": radius,
            "max_trust_radius": 1e10,
        },
    )
    return points


def _leave_saddle(target: Target, saddle: Point) -> Point | None:
    """A lower point along the direction of most negative curvature.

    `trust-exact` cannot take this step: without a gradient its subproblem has no unique solution.
    """
    direction = saddle.curvature.whitening[:, 0]
    for length in 0.5 ** np.arange(20):
        point = target(saddle.z + length * direction)
        if not point.status and point.objective < saddle.objective:
            return point
    return None


def _polish(target: Target, point: Point, tolerance: float, max_steps: int) -> list[Point]:
    """Newton steps from a point at which φ is resolved, for as long as the gradient shrinks."""
    points = []
    while len(points) < max_steps and point.norm >= tolerance and point.is_resolved():
        after = target(point.z - point.curvature.inverse() @ point.gradient)
        if after.status or not after.norm < point.norm:
            break
        points.append(after)
        point = after
    return points
