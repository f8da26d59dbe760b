"""Krylov subspaces: systems that are neither small, nor local, nor fast mixing."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax
from jaxtyping import Array, Float

from sobirl.mdp import PolicySystem
from sobirl.solvers.linear.base import (
    LinearSolution,
    LinearSolver,
    Work,
    conclude,
    product,
    refine,
)
from sobirl.solvers.linear.kronecker import Kronecker

# A cycle that reduces the residual by less has stalled.
_PAYS = 0.9


def gmres_cycle(apply, b: Float[Array, "S"], restart: int, preconditioner=None):
    """An approximate solution of A x = b from one Krylov subspace of `restart` dimensions."""
    structure = jax.ShapeDtypeStruct(b.shape, b.dtype)
    operator = lineax.FunctionLinearOperator(apply, structure)
    options = {}
    if preconditioner is not None:
        options["preconditioner"] = lineax.FunctionLinearOperator(preconditioner, structure)
    # Its first step only computes the residual.
    solver = lineax.GMRES(rtol=0.0, atol=0.0, max_steps=2, restart=restart)
    got = lineax.linear_solve(operator, b, solver, options=options, throw=False)
    return jnp.where(jnp.all(jnp.isfinite(got.value)), got.value, 0.0)


class Krylov(LinearSolver):
    """Restarted GMRES on the operator: `restart` sweeps a cycle, memory for as many vectors.

    Asks nothing of the structure. The few directions in which P_π mixes slowly are found by
    themselves, so that no uniform discount is needed.

    Args:
        restart: dimensions of the Krylov subspace; None is 100, or fewer if these vectors would
            take more than 1 GB. Slow directions that do not fit into it stall a cycle.
        preconditioner: `Kronecker()` where the law is a product of independent components.
    """

    restart: int | None = None
    preconditioner: Kronecker | None = eqx.field(default=None, static=True)

    name: ClassVar[str] = "gmres"

    @property
    def description(self) -> str:
        """With the preconditioner."""
        return "gmres, kronecker" if self.preconditioner else self.name

    def solve(
        self,
        system: PolicySystem,
        b: Float[Array, "S"],
        state: tuple,
        rtol: float | Float[Array, ""],
        transposed: bool = False,
    ) -> LinearSolution:
        """x by cycles of GMRES for as long as they reduce the residual."""
        apply = product(system, transposed)
        most = min(100, 2**30 // (b.dtype.itemsize * system.size))
        restart = min(max(most, 10) if self.restart is None else self.restart, system.size)
        inverse = self.preconditioner and self.preconditioner.inverse(system, transposed)
        x, residual, cycles = refine(
            apply,
            lambda r: gmres_cycle(apply, r, restart, inverse),
            b,
            jnp.zeros_like(b),
            rtol,
            transposed,
            _PAYS,
        )
        work = Work.of(1 + cycles * (restart + 2))
        return conclude(b, x, residual, rtol, transposed, state, work)
