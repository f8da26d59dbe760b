"""Maximum likelihood for Rust's bus engines: estimates, standard errors, what follows from them."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sobirl.bilevel import BilevelProblem
from sobirl.bilevel.newton import NewtonResult, minimize_newton
from sobirl.core.errors import ConvergenceError
from sobirl.problems.rust_bus import DISCOUNT, REPLACE, Panel, check_estimable, cost_named, problem
from sobirl.solve import solve

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
        start_converged: whether each start's gradient fell below the tolerance.
        compile_seconds, run_seconds: over all starts.
    """

    cost: str
    discount: float
    panel: Panel
    problem: BilevelProblem
    result: NewtonResult
    start_objectives: Float[np.ndarray, "starts"]
    start_converged: np.ndarray
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
        ConvergenceError: the follower could not be solved at any start.
    """
    check_estimable(panel, "panel")
    at = problem(cost, panel.decision_counts, panel.transition_probabilities, discount)

    def minimize(x0, free=None):
        return minimize_newton(at, x0, tolerance, max_steps, free=free)

    # One start climbs through the nested models: the constant hazard (θ = 0, where RC is known in
    # closed form), then one more entry of θ at a time, from the optimum so far. Newton's steps
    # never raise -log L, so a richer model cannot end above a poorer one. The random starts look
    # for better local optima; on Rust's data all of them end at the same one.
    parameters = cost_named(cost).num_parameters
    keeps, replacements = panel.decision_counts.sum(axis=0)
    results: list[NewtonResult] = []
    x = _as_parameters([np.log(keeps / replacements), *np.zeros(parameters)])
    seconds = np.zeros(2)
    for size in range(1, parameters + 1):
        free = _as_parameters(np.arange(parameters + 1) <= size)
        last = minimize(x, free)
        x = last.x
        seconds += last.compile_seconds, last.run_seconds
    results.append(last)
    rng = np.random.default_rng(seed)
    for _ in range(RANDOM_STARTS):
        try:
            results.append(
                minimize(_as_parameters([rng.uniform(2, 20), *rng.normal(0, 5, parameters)]))
            )
        except ConvergenceError:
            continue
        seconds += results[-1].compile_seconds, results[-1].run_seconds

    objectives = np.full(1 + RANDOM_STARTS, np.nan)
    objectives[: len(results)] = [result.objective for result in results]
    # A start that has converged is as good as the objective's round-off allows to say.
    best = min(results, key=lambda result: (round(result.objective, 9), not result.converged))
    return Estimate(
        cost=cost,
        discount=discount,
        panel=panel,
        problem=at,
        result=best,
        start_objectives=objectives,
        start_converged=np.array([result.converged for result in results]),
        compile_seconds=float(seconds[0]),
        run_seconds=float(seconds[1]),
    )


def _as_parameters(values) -> dict[str, np.ndarray]:
    values = np.asarray(values)
    return {"replacement_cost": values[0], "theta": values[1:]}


def _as_vector(x) -> np.ndarray:
    return np.concatenate([np.atleast_1d(x["replacement_cost"]), x["theta"]])
