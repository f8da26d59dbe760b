"""Maximum likelihood for Rust's bus engines: estimates, standard errors, what follows from them."""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sobirl.bilevel import BilevelProblem
from sobirl.bilevel.newton import NewtonResult, minimize_newton
from sobirl.core.errors import ConvergenceError
from sobirl.core.status import Status
from sobirl.problems.rust_bus import (
    DISCOUNT,
    REPLACE,
    Panel,
    check_estimable,
    cost_named,
    problem,
)
from sobirl.solvers import solve

RANDOM_STARTS = 3


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The maximum-likelihood estimate of a cost function on a panel; n = 1 + k parameters.

    Attributes:
        cost: the name of the cost function.
        discount: γ.
        panel: the data.
        problem: the bilevel problem that was solved; its `value` is -log L.
        result: Newton's end at the best start.
        start_objectives: -log L that each start reached, NaN if it failed.
        compile_seconds, run_seconds: over all starts.
    """

    cost: str
    discount: float
    panel: Panel
    problem: BilevelProblem
    result: NewtonResult
    start_objectives: Float[np.ndarray, "starts"]
    compile_seconds: float
    run_seconds: float

    @property
    def values(self) -> Float[np.ndarray, "n"]:
        """RC, then θ."""
        return _as_vector(self.result.x)

    @property
    def standard_errors(self) -> Float[np.ndarray, "n"]:
        """Of RC, then θ; NaN if the Hessian is not positive definite.

        From the inverse Hessian of -log L: the error of the transition probabilities, estimated
        beforehand, is not in them.
        """
        return _as_vector(self.result.standard_errors)


def estimate(
    panel: Panel,
    cost: str = "linear",
    *,
    discount: float = DISCOUNT,
    tolerance: float = 1e-6,
    max_steps: int = 100,
    seed: int = 0,
) -> Estimate:
    """The RC and θ under which the panel's decisions are most likely.

    Args:
        panel: the data, for example `group4()`.
        cost: a name in `COSTS`.
        discount: γ in [0, 1).
        tolerance: norm of the gradient of -log L at which it stops.
        max_steps: steps after which a start is given up.
        seed: of the random starts.

    Raises:
        InvalidInputError: a panel without replacements, without keeps or without increments, or
            an argument out of range.
        ConvergenceError: the follower could not be solved without operating costs (θ = 0).
    """
    check_estimable(panel, "panel")
    at = problem(cost, panel.decision_counts, panel.transition_probabilities, discount)

    def minimize(values, free=None):
        return minimize_newton(at, _as_parameters(values), tolerance, max_steps, free=free)

    climb = _climb(minimize, panel, cost_named(cost).num_parameters)
    # The random starts look for better local optima. On Rust's data, and on all of 300 simulated
    # panels, every start ended at the same one.
    rng = np.random.default_rng(seed)
    others: list[NewtonResult | None] = []
    for _ in range(RANDOM_STARTS):
        values = np.array([rng.uniform(2, 20), *rng.normal(0, 5, cost_named(cost).num_parameters)])
        try:
            others.append(minimize(values))
        except ConvergenceError:
            others.append(None)

    starts = [climb[-1], *others]
    ended = [result for result in starts if result is not None]
    # Among ends that round-off cannot tell apart, the one with the smallest gradient.
    lowest = min(result.objective for result in ended)
    close = [r for r in ended if r.objective <= lowest + 1e-10 * max(1, abs(lowest))]
    solved = [*climb[:-1], *ended]
    return Estimate(
        cost=cost,
        discount=discount,
        panel=panel,
        problem=at,
        result=min(close, key=lambda result: result.hypergradient_norm),
        start_objectives=np.array([np.nan if r is None else r.objective for r in starts]),
        compile_seconds=sum(result.compile_seconds for result in solved),
        run_seconds=sum(result.run_seconds for result in solved),
    )


def _climb(minimize: Callable, panel: Panel, num_parameters: int) -> list[NewtonResult]:
    """One result for each model from the poorest to the richest, each starting at the one before.

    The poorest is the constant hazard: with θ = 0 no state differs from another, and RC is the log
    odds of keeping. Then one more entry of θ at a time is set free. Newton's steps never raise
    -log L, so that no model ends above a poorer one that is nested in it.
    """
    keeps, replacements = panel.decision_counts.sum(axis=0)
    values = np.array([np.log(keeps / replacements), *np.zeros(num_parameters)])
    results = []
    for free in range(1, num_parameters + 1):
        results.append(minimize(values, _as_parameters(np.arange(num_parameters + 1) <= free)))
        values = _as_vector(results[-1].x)
    return results


def replacement_probability(
    estimate: Estimate, x: dict | None = None
) -> tuple[Float[np.ndarray, "90"], Float[np.ndarray, "90"]]:
    """π(replace|s) in every state, and its standard errors by the delta method.

    Args:
        estimate: its covariance gives the standard errors; NaN if it has none.
        x: the parameters at which to evaluate; by default the estimate.

    Raises:
        ConvergenceError: the follower could not be solved there.
    """
    values = estimate.values if x is None else _as_vector(x)
    probability, slopes, status = (
        np.asarray(out) for out in _replacement(estimate.problem, jnp.asarray(values))
    )
    if (status := Status(int(status))) is not Status.CONVERGED:
        raise ConvergenceError(status.advice)
    covariance = estimate.result.covariance
    if covariance is None:
        return probability, np.full(len(probability), np.nan)
    return probability, np.sqrt(np.einsum("si,ij,sj->s", slopes, covariance, slopes))


@eqx.filter_jit
def _replacement(problem, values):
    """π(replace|s) (90,), its derivative (90,n), and how the follower was solved.

    A status instead of an error: programs that can raise are compiled anew by every process.
    """

    def probability(values):
        solution = solve(problem.lower(_as_parameters(values)), throw=False)
        replace = solution.policy[:, REPLACE]
        return replace, (replace, solution.status_code)

    slopes, (replace, status) = jax.jacfwd(probability, has_aux=True)(values)
    return replace, slopes, status


@dataclasses.dataclass(frozen=True)
class Profile:
    """-log L over RC and θ₁ around its minimum, on a grid along the axes of their covariance.

    Attributes:
        points: (RC, θ₁) of the grid.
        excess: -log L above its minimum, minimized over the other entries of θ; NaN where it was
            not computed, or where the follower could not be solved.
    """

    points: Float[np.ndarray, "m m 2"]
    excess: Float[np.ndarray, "m m"]


def profile_likelihood(
    estimate: Estimate, reach: float, step: float = 0.25, widest: float = 12.0
) -> Profile:
    """The likelihood wherever -log L is less than `reach` above its minimum, and one step around.

    The grid grows from the optimum, so that it follows a bent ridge as far as that goes; the
    other entries of θ start where the Hessian at the grid point before predicts them.

    Args:
        estimate: the optimum; it must have a covariance.
        reach: how far above the minimum -log L may be.
        step: of the grid, in standard deviations along the axes of the covariance.
        widest: standard deviations at which the grid ends.
    """
    optimum = estimate.result
    assert optimum.covariance is not None
    axes = np.linalg.cholesky(optimum.covariance[:2, :2]) * step
    radius = int(widest / step)
    excess = np.full((2 * radius + 1, 2 * radius + 1), np.nan)
    around = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    queue, seen = [((0, 0), (estimate.values, optimum.hessian))], {(0, 0)}
    for (i, j), before in queue:  # which grows on the way
        objective, here = _profile_point(estimate, estimate.values[:2] + axes @ (i, j), before)
        excess[radius + i, radius + j] = objective - optimum.objective
        if not excess[radius + i, radius + j] < reach:
            continue
        for place in ((i + di, j + dj) for di, dj in around):
            if max(map(abs, place)) <= radius and place not in seen:
                seen.add(place)
                queue.append((place, here))
    steps = np.arange(-radius, radius + 1)
    grid = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1)
    return Profile(estimate.values[:2] + grid @ axes.T, excess)


def _profile_point(
    estimate: Estimate, first: np.ndarray, before: tuple[np.ndarray, np.ndarray]
) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
    """-log L at (RC, θ₁) = `first`, minimized over the rest; the parameters and the Hessian there.

    `before` has the parameters and the Hessian of a point nearby.
    """
    near, hessian = before
    rest = near[2:] - np.linalg.solve(hessian[2:, 2:], hessian[2:, :2] @ (first - near[:2]))
    x = _as_parameters(np.concatenate([first, rest]))
    if not len(rest):
        return float(_objective(estimate.problem, x)), before
    free = _as_parameters(np.arange(2 + len(rest)) >= 2)
    try:
        # The error of -log L is of the order of the squared gradient.
        result = minimize_newton(estimate.problem, x, 1e-3, free=free)
    except ConvergenceError:
        return np.nan, before
    return result.objective, (_as_vector(result.x), result.hessian)


@eqx.filter_jit
def _objective(problem, x):
    solution = solve(problem.lower(x), throw=False)
    return jnp.where(solution.status == Status.CONVERGED, problem.upper(x, solution), jnp.nan)


def _as_parameters(values) -> dict:
    """(n,) as the leader's x."""
    return {"replacement_cost": values[0], "theta": values[1:]}


def _as_vector(x) -> np.ndarray:
    return np.concatenate([np.atleast_1d(x["replacement_cost"]), x["theta"]])
