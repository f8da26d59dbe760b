"""Fixed-point sweeps x ← b + γP_π x, with the one slow direction taken out."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sobirl.mdp import PolicySystem
from sobirl.solvers.linear.base import (
    LinearSolution,
    LinearSolver,
    Work,
    conclude,
    goal,
    norm,
    product,
)
from sobirl.solvers.patience import ROUND, hopeless

# The share of the residual's size from which its slow part is worth taking out.
_DOMINANT = 0.1


class Earlier(eqx.Module):
    """The last solutions, of either kind, from which the next ones start; zeros at first."""

    plain: Float[Array, "S"]
    transposed: Float[Array, "S"]


class _Carry(eqx.Module):
    x: Float[Array, "S"]
    residual: Float[Array, "S"]
    before: Float[Array, ""]
    sweeps: Int[Array, ""]
    hopeless: Bool[Array, ""]


class Sweeping(LinearSolver):
    """x ← b + γP_π x, or w ← b + γP_πᵀ w: one product a sweep, nothing stored but vectors.

    A plain sweep shrinks the error by γ. Where the discount is the same everywhere all but one
    direction shrink by γ|λ₂|, λ₂ the second eigenvalue of P_π, and that direction is known. Of x it
    is the constant, which (I - γP_π) shrinks by 1 - γ: as in MacQueen's extrapolation of value
    iteration, the middle of the residual is divided by that. Of w it is the mass, for which
    (1 - γ) Σw = Σb: what is missing is added, spread like the last solution. Elsewhere, plain
    sweeps.

    Ends without `ok` where the rate seen so far would take more than `patience` sweeps.

    Args:
        patience: the most sweeps worth making.
    """

    patience: int | Int[Array, ""] = 300

    name: ClassVar[str] = "sweeps"

    def init(self, system: PolicySystem) -> Earlier:
        """Nothing solved yet."""
        zeros = jnp.zeros(system.size, system.weights.dtype)
        return Earlier(zeros, zeros)

    def solve(
        self,
        system: PolicySystem,
        b: Float[Array, "S"],
        state: Earlier,
        rtol: float | Float[Array, ""],
        transposed: bool = False,
    ) -> LinearSolution:
        """x by sweeps from the last solution of this kind."""
        apply = product(system, transposed)
        slow_part = _missing_mass(state.transposed) if transposed else _middle

        def unfinished(x, residual):
            return norm(residual, transposed) > goal(b, x, rtol, transposed)

        def sweep(carry):
            x, residual, sweeps = carry
            step = residual
            if system.discount is not None:
                gain = system.discount / (1 - system.discount)
                step = step + gain * slow_part(residual)
            x = x + step
            return x, b - apply(x), sweeps + 1

        def one_round(carry):
            last = carry.sweeps + ROUND
            x, residual, sweeps = jax.lax.while_loop(
                lambda c: (c[2] < last) & unfinished(c[0], c[1]),
                sweep,
                (carry.x, carry.residual, carry.sweeps),
            )
            size = norm(residual, transposed)
            lost = hopeless(carry.before, size, goal(b, x, rtol, transposed), sweeps, self.patience)
            return _Carry(x, residual, size, sweeps, lost)

        start = state.transposed if transposed else state.plain
        residual = b - apply(start)
        # An earlier solution of something else is no help.
        helps = norm(residual, transposed) < norm(b, transposed)
        start = jnp.where(helps, start, 0.0)
        residual = jnp.where(helps, residual, b)
        first = _Carry(start, residual, norm(residual, transposed), jnp.int32(1), jnp.array(False))
        end = jax.lax.while_loop(
            lambda c: unfinished(c.x, c.residual) & ~c.hopeless, one_round, first
        )
        earlier = Earlier(
            state.plain if transposed else end.x, end.x if transposed else state.transposed
        )
        return conclude(b, end.x, end.residual, rtol, transposed, earlier, Work.of(end.sweeps))


def _middle(residual: Float[Array, "S"]) -> Float[Array, "S"]:
    """The constant in the middle of the residual, if it is a good part of it."""
    high, low = jnp.max(residual), jnp.min(residual)
    middle = (high + low) / 2
    matters = jnp.abs(middle) > _DOMINANT * (high - low)
    return jnp.where(matters, middle, 0.0) * jnp.ones_like(residual)


def _missing_mass(earlier: Float[Array, "S"]):
    """The mass of a residual, spread like an earlier solution of positive mass, else evenly."""
    mass = jnp.sum(earlier)
    alike = jnp.abs(mass) > 0.5 * jnp.sum(jnp.abs(earlier))
    even = jnp.full_like(earlier, 1 / len(earlier))
    spread = jnp.where(alike, earlier / jnp.where(alike, mass, 1.0), even)

    def missing_mass(residual):
        mass = jnp.sum(residual)
        matters = jnp.abs(mass) > _DOMINANT * jnp.sum(jnp.abs(residual))
        return jnp.where(matters, mass, 0.0) * spread

    return missing_mass
