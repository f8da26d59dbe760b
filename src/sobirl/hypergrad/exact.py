"""The exact hyper-gradient: solve the lower level, then one adjoint solve."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from sobirl.core.status import Status
from sobirl.hypergrad.base import ContextProblem, HypergradMethod
from sobirl.hypergrad.methods import METHODS, Needs
from sobirl.hypergrad.warm_start import WarmStart
from sobirl.solvers import Auto, Solver, pull_back


class Exact(HypergradMethod):
    """∇φ(x) = ∂_x f + Σ_{s,a} μ(s,a) ∇_x r_x(s,a) with the exact signed occupancy μ.

    With g = ∂f/∂π: solve (I - γP_π)ᵀ w = b, b(s') = Σ_{s,a} (1[s=s'] - γP(s'|s,a)) π(a|s) g(s,a);
    then μ = (π∘g - w π)/τ. Where x enters the transitions, the discount, the temperature or the
    reference policy, their cotangents join in. Each lower level starts from the last one's value,
    factors and adjoint. A lower level of another kind is differentiated through its own `solve`.

    Args:
        solver: solves the lower level to its own tolerance.
        rtol: asked relative residual of the adjoint system.

    Metrics: `objective`, `residual` (Bellman), `adjoint_residual` (relative), `solver_steps`,
    `sweeps` (products with P) and `factorizations` of solve and adjoint, `status`; the largest over
    contexts.

    Source: Yang, Gao, Yuan (2025), theorem 4.
    """

    solver: Solver = Auto()
    rtol: float | Float[Array, ""] = 1e-12

    needs: ClassVar[Needs] = METHODS["exact"].needs
    objective_is_exact: ClassVar[bool] = True

    def begin(self, problem: ContextProblem, x: PyTree, key: Key[Array, ""]) -> WarmStart | None:
        """Zero values, from which the first lower level is solved; nothing for another kind."""
        if problem.solves_itself(x):
            return None
        return WarmStart.cold(problem.mdp(x), self.solver)

    def estimate_one(
        self, problem: ContextProblem, x: PyTree, state: WarmStart | None, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], PyTree, WarmStart | None, dict[str, Array]]:
        """The hyper-gradient at x, to the tolerances of the solver and of the adjoint."""
        if state is None:
            return _through_solve(problem, x)
        mdp, pull_follower = eqx.filter_vjp(problem.mdp, x)
        solution, start = state.solve(mdp, self.solver)
        response = solution.response
        objective, (explicit, cotangent) = jax.value_and_grad(problem.upper, argnums=(0, 1))(
            x, response
        )
        linear_solver = self.solver.resolve(mdp).linear_solver
        pulled = pull_back(mdp, response, cotangent, linear_solver, start.linear, self.rtol)
        start = WarmStart(start.value, pulled.linear)
        (implicit,) = pull_follower(pulled.mdp)
        adjoint_status = jnp.where(pulled.ok, Status.CONVERGED, Status.ADJOINT_RESIDUAL)
        metrics = {
            "residual": solution.residual,
            "adjoint_residual": pulled.relative_residual,
            "solver_steps": solution.stats.steps,
            "sweeps": solution.stats.sweeps + pulled.work.sweeps,
            "factorizations": solution.stats.factorizations + pulled.work.factorizations,
            "status": jnp.maximum(solution.status_code, adjoint_status),
        }
        return objective, jax.tree.map(jnp.add, explicit, implicit), start, metrics


def _through_solve(
    problem: ContextProblem, x: PyTree
) -> tuple[Float[Array, ""], PyTree, None, dict[str, Array]]:
    """The estimate where the lower level knows its own derivative."""

    def value(x):
        response = problem.lower(x).solve(throw=False)
        status = getattr(response, "status_code", jnp.int32(Status.CONVERGED))
        return problem.upper(x, response), status

    (objective, status), hypergradient = jax.value_and_grad(value, has_aux=True)(x)
    return objective, hypergradient, None, {"status": status}
