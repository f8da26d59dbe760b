"""What is reported of an x: the follower's response and the leader's value, solved to round-off."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sobirl.bilevel import BilevelProblem
from sobirl.core.errors import ConvergenceError
from sobirl.core.status import Status
from sobirl.solve import occupancy, solve


class Evaluation(NamedTuple):
    """At N points: φ (N,), π and expected discounted visits (N, *contexts, S, A)."""

    objective: np.ndarray
    policy: np.ndarray
    visits: np.ndarray


def evaluate(
    problem: BilevelProblem, xs: PyTree, needed: Sequence[int] | None = None
) -> Evaluation:
    """Solve the follower at points with a leading axis.

    Args:
        problem: the bilevel problem.
        xs: N points.
        needed: the points without which nothing can be reported, by default all. φ is NaN at
            others that could not be solved.

    Raises:
        ConvergenceError: a needed lower level could not be solved.
    """
    statuses, objectives, policies, visits = map(np.asarray, _evaluate(problem, xs))
    worst = int(np.max(statuses if needed is None else statuses[list(needed)]))
    if worst:
        raise ConvergenceError(Status(worst).advice)
    return Evaluation(np.where(statuses == 0, objectives, np.nan), policies, visits)


@eqx.filter_jit
def _evaluate(problem: BilevelProblem, xs: PyTree):
    """Statuses instead of errors: programs that can raise are compiled anew by every process."""

    def at(x):
        def one(context):
            mdp = problem.lower(x, context)
            solution = solve(mdp, throw=False)
            visits = occupancy(mdp, solution.policy)
            return problem.upper(x, solution, context), solution.result, solution.policy, visits

        objectives, statuses, policies, visits = problem.each_context(one)
        return jnp.max(statuses), problem.average(objectives), policies, visits

    return jax.vmap(at)(xs)
