"""Policy systems solved as a differentiable function of the system and the right-hand side."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobirl.mdp import PolicySystem
from sobirl.solvers.linear.auto import AutoLinear
from sobirl.solvers.linear.base import LinearSolver, State, product


def linear_solve(
    system: PolicySystem,
    b: Float[Array, "S"],
    transposed: bool = False,
    solver: LinearSolver | None = None,
    state: State | None = None,
    rtol: float | Float[Array, ""] = 1e-13,
) -> Float[Array, "S"]:
    """x with A x = b (or Aᵀ x = b), differentiable in A and b in every mode.

    NaN where the residual misses `rtol`. What one system's factorization can do for all
    derivatives it does once.
    """
    now = jax.lax.stop_gradient(system)
    solver = (AutoLinear() if solver is None else solver).resolve(now)
    if state is None:
        state = solver.prepare(now, solver.init(now))

    def solve(b, way):
        got = solver.solve(now, b, state, rtol, way)
        return jnp.where(got.ok, got.solution, jnp.nan)

    return jax.lax.custom_linear_solve(
        product(system, transposed),
        b,
        solve=lambda _, b: solve(b, transposed),
        transpose_solve=lambda _, b: solve(b, not transposed),
    )
