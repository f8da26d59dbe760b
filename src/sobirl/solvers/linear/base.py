"""The contract of linear solvers: (I - γP_π) x = b or its transpose, to a stated residual."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sobirl.mdp import PolicySystem

State = Any


class Work(eqx.Module):
    """What was done: products with the operator or its transpose, and factorizations."""

    sweeps: Int[Array, ""]
    factorizations: Int[Array, ""]

    @classmethod
    def of(cls, sweeps=0, factorizations=0) -> "Work":
        """So much work."""
        return cls(jnp.asarray(sweeps, jnp.int32), jnp.asarray(factorizations, jnp.int32))

    def __add__(self, other: "Work") -> "Work":
        return jax.tree.map(jnp.add, self, other)


class LinearSolution(eqx.Module):
    """The solution of a linear system, what is known about its error, and what it took.

    Attributes:
        solution: x (S,).
        relative_residual: ‖b - Ax‖/‖b‖, in the norm in which A is bounded by 2: the maximum norm,
            or the 1-norm when transposed.
        ok: whether that is within the asked tolerance or within what rounding allows.
        state: what the next solve with this or a nearby system can use.
        work: sweeps and factorizations.
    """

    solution: Float[Array, "S"]
    relative_residual: Float[Array, ""]
    ok: Bool[Array, ""]
    state: State
    work: Work


class LinearSolver(eqx.Module):
    """A way to solve (I - γP_π) x = b and (I - γP_π)ᵀ x = b; a subclass needs `solve` alone.

    Its `state` is any pytree of arrays of fixed shapes, opaque to everyone else: factors, earlier
    solutions. It belongs to some earlier system, often a nearby one, so that `solve` has to look at
    the residual for *this* system. `sobirl.testing.check_linear_solver` checks all that is asked.

    `name` is how reports call it. Solvers that factorize run one after the other on a CPU.
    """

    name: ClassVar[str]

    @property
    def description(self) -> str:
        """What solutions report of it."""
        return self.name

    @property
    def factorizes(self) -> bool:
        """Whether a solve holds LAPACK calls or callbacks."""
        return False

    @property
    def verifies(self) -> bool:
        """Whether `approximate` looks at the residual of what it finds."""
        return True

    def resolve(self, system: PolicySystem) -> "LinearSolver":
        """The solver that will do the work for systems of this shape and structure: itself."""
        return self

    def init(self, system: PolicySystem) -> State:
        """The state that knows nothing yet."""
        return ()

    def prepare(self, system: PolicySystem, state: State) -> State:
        """The state made ready for many right-hand sides of one system, say by factorizing it."""
        return state

    def forget(self, state: State) -> State:
        """The state after it has shown to serve no longer."""
        return state

    @abc.abstractmethod
    def solve(
        self,
        system: PolicySystem,
        b: Float[Array, "S"],
        state: State,
        rtol: float | Float[Array, ""],
        transposed: bool = False,
    ) -> LinearSolution:
        """x with A x = b, or Aᵀ x = b, to a relative residual of `rtol` with a round-off floor."""

    def approximate(
        self, system: PolicySystem, b: Float[Array, "S"], state: State
    ) -> LinearSolution:
        """A rough x with A x = b, good enough for a Newton step that is looked at afterwards."""
        return self.solve(system, b, state, 0.03)


def product(system: PolicySystem, transposed: bool) -> Callable[[Array], Array]:
    """The product with A or with Aᵀ."""
    return system.rmv if transposed else system.mv


def norm(x: Float[Array, "S"], transposed: bool) -> Float[Array, ""]:
    """The norm in which A (or Aᵀ) is bounded by 2."""
    return jnp.sum(jnp.abs(x)) if transposed else jnp.max(jnp.abs(x))


def goal(
    b: Float[Array, "S"], x: Float[Array, "S"], rtol: float | Float[Array, ""], transposed: bool
) -> Float[Array, ""]:
    """The residual to reach: rtol·‖b‖, or what rounding allows.

    Where rounding allows a tenth of b the system is singular for all that its solution tells.
    """
    info = jnp.finfo(b.dtype)
    size = norm(b, transposed)
    rounding = 16 * info.eps * (size + norm(x, transposed))
    rounding = jnp.minimum(rounding, 0.1 * size) + 16 * len(b) * info.tiny
    return jnp.maximum(rtol * size, rounding)


def conclude(
    b: Float[Array, "S"],
    x: Float[Array, "S"],
    residual: Float[Array, "S"],
    rtol: float | Float[Array, ""],
    transposed: bool,
    state: State,
    work: Work,
) -> LinearSolution:
    """What to answer at x with the residual b - Ax."""
    left, size = norm(residual, transposed), norm(b, transposed)
    scale = jnp.where(size > 0, size, 1.0)
    return LinearSolution(x, left / scale, left <= goal(b, x, rtol, transposed), state, work)


def refine(
    apply: Callable[[Array], Array],
    correct: Callable[[Array], Array],
    b: Float[Array, "S"],
    start: Float[Array, "S"],
    rtol: float | Float[Array, ""],
    transposed: bool,
    pays: float,
) -> tuple[Float[Array, "S"], Float[Array, "S"], Int[Array, ""]]:
    """x ← x + correct(b - Ax) while every correction reduces the residual to `pays` of itself.

    Returns x, its residual, and how many corrections were made.
    """

    def improving(carry):
        x, residual, previous, _ = carry
        size = norm(residual, transposed)
        return (size > goal(b, x, rtol, transposed)) & (size < pays * previous)

    def improve(carry):
        x, residual, _, count = carry
        better = x + correct(residual)
        return better, b - apply(better), norm(residual, transposed), count + 1

    infinite = jnp.full((), jnp.inf, b.dtype)
    first = (start, b - apply(start), infinite, jnp.int32(0))
    x, residual, _, count = jax.lax.while_loop(improving, improve, first)
    return x, residual, count
