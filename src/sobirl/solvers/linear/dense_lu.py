"""Dense LU factors: of this system, or of a nearby one with iterative refinement."""

import functools
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sobirl.core.batching import sequential_on_cpu
from sobirl.mdp import PolicySystem
from sobirl.solvers.linear.base import (
    LinearSolution,
    LinearSolver,
    Work,
    conclude,
    goal,
    norm,
    refine,
)

# A refinement that reduces the residual by less is dearer than factors of the matrix itself.
_PAYS = 0.05


class LU(eqx.Module):
    """A factored matrix: A[permutation] = L U.

    `known` is False before there are factors, and after they have shown to serve no longer.
    """

    factors: Float[Array, "S S"]
    permutation: Int[Array, "S"]
    known: Bool[Array, ""]


@sequential_on_cpu
def factorize(matrix: Float[Array, "S S"]) -> LU:
    """The LU factorization of `matrix` with partial pivoting."""
    factors, _, permutation = jax.lax.linalg.lu(matrix)
    return LU(factors, permutation, jnp.array(True))


@sequential_on_cpu
def back_substitute(lu: LU, b: Float[Array, "S"]) -> Float[Array, "S"]:
    """x with A x = b."""
    triangle = functools.partial(jax.lax.linalg.triangular_solve, lu.factors, left_side=True)
    x = b[lu.permutation, None]
    x = triangle(x, lower=True, unit_diagonal=True)
    return triangle(x, lower=False)[:, 0]


@sequential_on_cpu
def back_substitute_transposed(lu: LU, b: Float[Array, "S"]) -> Float[Array, "S"]:
    """x with Aᵀ x = b."""
    triangle = functools.partial(
        jax.lax.linalg.triangular_solve, lu.factors, left_side=True, transpose_a=True
    )
    x = triangle(b[:, None], lower=False)
    x = triangle(x, lower=True, unit_diagonal=True)[:, 0]
    return jnp.zeros_like(x).at[lu.permutation].set(x, unique_indices=True)


class DenseLU(LinearSolver):
    """LU factors of the S×S matrix: O(S³) once, O(S²) for every right-hand side.

    Factors of an earlier, nearby system are used with iterative refinement for as long as that
    pays; then this system is factorized.
    """

    name: ClassVar[str] = "dense-lu"

    @property
    def factorizes(self) -> bool:
        """Always."""
        return True

    @property
    def verifies(self) -> bool:
        """A product would cost as much as the substitution."""
        return False

    def init(self, system: PolicySystem) -> LU:
        """No factors yet."""
        size, dtype = system.size, system.weights.dtype
        permutation = jnp.arange(size, dtype=jnp.int32)
        return LU(jnp.eye(size, dtype=dtype), permutation, jnp.array(False))

    def prepare(self, system: PolicySystem, state: LU) -> LU:
        """Factors of this system."""
        return factorize(system.as_matrix())

    def forget(self, state: LU) -> LU:
        """The same factors, no longer trusted."""
        return LU(state.factors, state.permutation, jnp.array(False))

    def approximate(self, system: PolicySystem, b: Float[Array, "S"], state: LU) -> LinearSolution:
        """One substitution, with the factors at hand or else with fresh ones."""
        lu = jax.lax.cond(state.known, lambda: state, lambda: factorize(system.as_matrix()))
        unseen = jnp.where(state.known, jnp.inf, 0.0).astype(b.dtype)
        work = Work.of(factorizations=~state.known)
        return LinearSolution(back_substitute(lu, b), unseen, ~state.known, lu, work)

    def solve(
        self,
        system: PolicySystem,
        b: Float[Array, "S"],
        state: LU,
        rtol: float | Float[Array, ""],
        transposed: bool = False,
    ) -> LinearSolution:
        """x by refinement with the factors at hand; where they stall, A itself is factorized."""
        solve = _solve_transposed if transposed else _solve_plain
        return solve(system.as_matrix(), b, state, jnp.asarray(rtol, b.dtype))


def _make_solve(transposed: bool):
    substitute = back_substitute_transposed if transposed else back_substitute

    @sequential_on_cpu
    def run(matrix, b, lu, rtol):
        def apply(x):
            return x @ matrix if transposed else matrix @ x

        def attempt(carry):
            lu, _, _, factorizations, _ = carry
            fresh = ~lu.known
            lu = jax.lax.cond(fresh, lambda: factorize(matrix), lambda: lu)
            correct = functools.partial(substitute, lu)
            x, residual, _ = refine(apply, correct, b, correct(b), rtol, transposed, _PAYS)
            ok = norm(residual, transposed) <= goal(b, x, rtol, transposed)
            lu = LU(lu.factors, lu.permutation, ok)
            return lu, x, residual, factorizations + fresh, ok | fresh

        # A second attempt has factors of this very matrix.
        first = (lu, jnp.zeros_like(b), b, jnp.int32(0), jnp.array(False))
        lu, x, residual, factorizations, _ = jax.lax.while_loop(lambda c: ~c[-1], attempt, first)
        work = Work.of(factorizations=factorizations)
        return conclude(b, x, residual, rtol, transposed, lu, work)

    return run


_solve_plain = _make_solve(False)
_solve_transposed = _make_solve(True)
