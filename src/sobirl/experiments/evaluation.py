"""What is reported of an x: the follower's response and the leader's value, solved to round-off."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sobirl.bilevel import BilevelProblem
from sobirl.core.batching import default_platform
from sobirl.core.errors import ConvergenceError
from sobirl.core.hoisting import hoisting_jit
from sobirl.core.status import Status
from sobirl.solvers import occupancy, solve


class Evaluation(NamedTuple):
    """At N points: φ (N,), π and expected discounted visits (N, *contexts, S, A)."""

    objective: np.ndarray
    policy: np.ndarray
    visits: np.ndarray
    status: Status  # the worst of the points that are needed


def evaluate(
    problem: BilevelProblem, xs: PyTree, needed: Sequence[int] | None = None
) -> Evaluation:
    """Solve the follower at points with a leading axis.

    Args:
        problem: the bilevel problem.
        xs: N points.
        needed: the points without which nothing can be reported, by default all.

    Raises:
        ConvergenceError: φ is not finite at a needed point.
    """
    statuses, objectives, policies, visits = (np.asarray(a) for a in _evaluate(problem, xs))
    chosen = slice(None) if needed is None else list(needed)
    worst = Status(int(np.max(statuses[chosen])))
    if not np.isfinite(objectives[chosen]).all():
        raise ConvergenceError(max(worst, Status.NOT_FINITE).advice)
    return Evaluation(objectives, policies, visits, worst)


@hoisting_jit
def _evaluate(problem: BilevelProblem, xs: PyTree):
    """Statuses instead of errors: programs that can raise are compiled anew by every process."""

    def at(x):
        def one(context):
            mdp = problem.lower(x, context)
            solution = solve(mdp, throw=False)
            visits = occupancy(mdp, solution.policy)
            return (
                problem.upper(x, solution, context),
                solution.status_code,
                solution.policy,
                visits,
            )

        objectives, statuses, policies, visits = problem.each_context(one)
        return jnp.max(statuses), problem.average(objectives), policies, visits

    # One by one on a CPU: as fast, and compiled in half the time.
    return jax.lax.map(at, xs) if default_platform() == "cpu" else jax.vmap(at)(xs)
