"""The exact hyper-gradient: solve the lower level, then one adjoint solve."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from sobirl.core.protocols import Problem
from sobirl.core.status import Status
from sobirl.hypergrad.requirements import soft_mdp
from sobirl.hypergrad.warm_start import WarmStart
from sobirl.solvers import PolicyIteration, Solver, pull_back


class Exact(eqx.Module):
    """∇φ(x) = ∂_x f + Σ_{s,a} μ(s,a) ∇_x r_x(s,a) with the exact signed occupancy μ.

    With g = ∂f/∂π: solve (I - γP_π)ᵀ w = b, b(s') = Σ_{s,a} (1[s=s'] - γP(s'|s,a)) π(a|s) g(s,a);
    then μ = (π∘g - w π)/τ. Where x enters the transitions, the discount, the temperature or the
    reference policy, their cotangents join in. Each lower level starts from the last one's value
    and factors.

    Args:
        solver: solves the lower level to its own tolerance.
        rtol: asked relative residual of the adjoint system.

    Metrics: `objective`, `residual` (Bellman), `adjoint_residual` (relative), `solver_steps`,
    `status`; the largest over contexts.

    Source: Yang, Gao, Yuan (2025), theorem 4.
    """

    solver: Solver = PolicyIteration()
    rtol: float | Float[Array, ""] = 1e-12

    objective_is_exact: ClassVar[bool] = True

    def init(self, problem: Problem, x: PyTree, key: Key[Array, ""]) -> WarmStart:
        """Zero values, from which the first lower level is solved."""

        def one(context):
            return WarmStart.cold(soft_mdp("Exact", problem, x, context), self.solver)

        return problem.each_context(one)

    def estimate(
        self, problem: Problem, x: PyTree, state: WarmStart, key: Key[Array, ""]
    ) -> tuple[PyTree, WarmStart, dict[str, Array]]:
        """The hyper-gradient at x, to the tolerances of the solver and of the adjoint."""

        def one(context, start):
            mdp, pull_follower = eqx.filter_vjp(lambda x: problem.lower(x, context), x)
            solution, start = start.solve(mdp, self.solver)
            response = solution.response
            objective, (explicit, cotangent) = jax.value_and_grad(problem.upper, argnums=(0, 1))(
                x, response, context
            )
            pulled = pull_back(mdp, response, cotangent, start.lu, self.rtol)
            (implicit,) = pull_follower(pulled.mdp)
            hypergradient = jax.tree.map(jnp.add, explicit, implicit)
            adjoint_status = jnp.where(pulled.ok, Status.CONVERGED, Status.ADJOINT_RESIDUAL)
            metrics = {
                "residual": solution.residual,
                "adjoint_residual": pulled.relative_residual,
                "solver_steps": solution.stats.steps,
                "status": jnp.maximum(solution.result, adjoint_status),
            }
            return objective, hypergradient, start, metrics

        objectives, hypergradients, starts, metrics = problem.each_context(one, state)
        objective, hypergradient = problem.average((objectives, hypergradients))
        worst = jax.tree.map(jnp.max, metrics)
        return hypergradient, starts, {"objective": objective, **worst}
