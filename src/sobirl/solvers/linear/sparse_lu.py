"""Sparse LU factors by SciPy's SuperLU, on the host."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt32

from sobirl.core.batching import sequential_on_cpu
from sobirl.mdp import PolicySystem
from sobirl.solvers.linear import superlu
from sobirl.solvers.linear.base import (
    LinearSolution,
    LinearSolver,
    Work,
    conclude,
    goal,
    norm,
    product,
    refine,
)
from sobirl.solvers.linear.krylov import gmres_cycle

# Products and substitutions of one cycle: a tenth of what a factorization costs.
_RESTART = 8
# A cycle that reduces the residual by less is dearer than new factors.
_PAYS = 0.1


class SparseFactors(eqx.Module):
    """Factors kept on the host, and what they are factors of, should the host have lost them.

    Attributes:
        name: the digest of the entries, under which the host keeps the factors.
        entries: those of the factored matrix, in the order of `PolicySystem.as_sparse`.
        known: whether they are factors of any system, and still serve.
    """

    name: UInt32[Array, "4"]
    entries: Float[Array, "N"]
    known: Bool[Array, ""]


class SparseLU(LinearSolver):
    """Sparse LU factors, for systems whose successors are near each other (little fill-in).

    SuperLU runs on the host, in a callback. Factors of an earlier, nearby system precondition
    GMRES for as long as that is cheaper than new factors.
    """

    name: ClassVar[str] = "sparse-lu"

    @property
    def factorizes(self) -> bool:
        """Always."""
        return True

    def init(self, system: PolicySystem) -> SparseFactors:
        """No factors yet."""
        number = system.transition.num_entries + system.size
        return SparseFactors(
            jnp.zeros(4, jnp.uint32), jnp.zeros(number, system.weights.dtype), jnp.array(False)
        )

    def prepare(self, system: PolicySystem, state: SparseFactors) -> SparseFactors:
        """Factors of this system."""
        return _factorize(system)

    def forget(self, state: SparseFactors) -> SparseFactors:
        """The same factors, no longer trusted."""
        return eqx.tree_at(lambda s: s.known, state, jnp.array(False))

    def solve(
        self,
        system: PolicySystem,
        b: Float[Array, "S"],
        state: SparseFactors,
        rtol: float | Float[Array, ""],
        transposed: bool = False,
    ) -> LinearSolution:
        """x by GMRES with the factors at hand; where that is slow, A itself is factorized."""
        return _solve(system, b, state, jnp.asarray(rtol, b.dtype), transposed)


def _solve(system, b, state, rtol, transposed):
    apply = product(system, transposed)

    def attempt(carry):
        factors, x, residual, work, _ = carry
        fresh = ~factors.known
        factors = jax.lax.cond(fresh, lambda: _factorize(system), lambda: _recall(system, factors))

        def substitute(r):
            return _substitute(factors, r, transposed)

        def correct(r):
            # Factors of A itself need no subspace.
            return jax.lax.cond(
                fresh,
                lambda: substitute(r),
                lambda: gmres_cycle(apply, r, _RESTART, substitute),
            )

        x, residual, count = refine(apply, correct, b, x, rtol, transposed, _PAYS)
        ok = norm(residual, transposed) <= goal(b, x, rtol, transposed)
        factors = eqx.tree_at(lambda f: f.known, factors, factors.known & ok)
        sweeps = 1 + jnp.where(fresh, count, count * (_RESTART + 2))
        return factors, x, residual, work + Work.of(sweeps, fresh), ok | fresh

    first = (state, jnp.zeros_like(b), b, Work.of(), jnp.array(False))
    factors, x, residual, work, _ = jax.lax.while_loop(lambda c: ~c[-1], attempt, first)
    return conclude(b, x, residual, rtol, transposed, factors, work)


def _factorize(system: PolicySystem) -> SparseFactors:
    """Factors of the system; `known` is False if there are none."""
    matrix = system.as_sparse()
    name, known = _call(
        superlu.factorize_on_host,
        (jax.ShapeDtypeStruct((4,), jnp.uint32), jax.ShapeDtypeStruct((), jnp.bool_)),
        matrix.data,
        matrix.indices,
    )
    return SparseFactors(name, matrix.data, known)


def _recall(system: PolicySystem, factors: SparseFactors) -> SparseFactors:
    """The same factors, on this host."""
    shape = jax.ShapeDtypeStruct((4,), jnp.uint32)
    places = system.as_sparse().indices
    name = _call(superlu.recall_on_host, shape, factors.name, factors.entries, places)
    return SparseFactors(name, factors.entries, factors.known)


def _substitute(
    factors: SparseFactors, b: Float[Array, "S"], transposed: bool
) -> Float[Array, "S"]:
    """A⁻¹ b, or A⁻ᵀ b, with the factors of a matrix A; NaN if there are none."""
    host = superlu.substitute_transposed_on_host if transposed else superlu.substitute_on_host
    return _call(host, jax.ShapeDtypeStruct(b.shape, b.dtype), factors.name, b)


def _call(function, shapes, *arguments):
    """A function of the host, one call after the other."""

    @sequential_on_cpu
    def call(*arguments):
        return jax.pure_callback(function, shapes, *arguments, vmap_method="sequential")

    return call(*arguments)
