"""Solvers of the soft Bellman equation V = T V: value iteration and policy iteration (Newton)."""

import abc
import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sobirl.core.errors import InvalidInputError
from sobirl.core.response import Response
from sobirl.mdp.soft_mdp import SoftMDP
from sobirl.solvers.accuracy import Accuracy, measure_accuracy
from sobirl.solvers.linear import LU, back_substitute, factorize, linear_solve

# The reduction of the residual by which factors of a nearby policy still pay.
_CHORD = 0.03


class SolverState(eqx.Module):
    """Where a solver stands.

    Attributes:
        value: V (S,), less `shift`.
        response: one backup at `value`, in the MDP shifted by `shift`.
        total_discount: γ Σ_s' P (S,A), which says what a shift does to the reward.
        shift: the constant taken out of V. For γ near 1 it is far larger than the differences
            between states, which alone decide the policy and would drown in its rounding.
        lu: the last factorization of I - γP_π, if the solver makes one.
        stale: whether those factors no longer serve; None where every step makes its own.
        steps: steps taken.
    """

    value: Float[Array, "S"]
    response: Response
    total_discount: Float[Array, "S A"]
    shift: Float[Array, ""]
    lu: LU | None
    stale: Bool[Array, ""] | None
    steps: Int[Array, ""]

    def recentered(self) -> "SolverState":
        """The same state with the middle of the values moved into the shift."""
        value = jax.lax.stop_gradient(self.value)
        shift = self.shift + (jnp.max(value) + jnp.min(value)) / 2
        moved = shift - self.shift  # what is left of the move after rounding
        response = Response(
            self.response.value - moved, self.response.q - moved, self.response.log_policy
        )
        return dataclasses.replace(self, value=self.value - moved, response=response, shift=shift)


class Solver(eqx.Module):
    """The contract: `init`, `step` and `terminate` on V, in the MDP shifted by `state.shift`.

    Args:
        rtol: asked accuracy of V, relative to the largest of its differences and the rewards.
        policy_tolerance: asked accuracy of log π, absolute.
        max_steps: reaching this many steps is an error.

    Both tolerances have a round-off floor: nothing beyond the precision of the arrays is asked.
    `factorizes` says whether a step factors an (S,S) matrix.
    """

    rtol: float | Float[Array, ""] = 1e-12
    policy_tolerance: float | Float[Array, ""] = 1e-12
    max_steps: int | Int[Array, ""] = 100_000

    factorizes: ClassVar[bool] = False

    def __check_init__(self):
        if isinstance(self.max_steps, int) and self.max_steps < 1:
            raise InvalidInputError(f"max_steps: must be at least 1, got {self.max_steps}")
        for name in ("rtol", "policy_tolerance"):
            tolerance = getattr(self, name)
            if isinstance(tolerance, (int, float)) and not tolerance >= 0:
                raise InvalidInputError(f"{name}: must not be negative, got {tolerance}")

    def init(self, mdp: SoftMDP, value: Float[Array, "S"], lu: LU | None = None) -> SolverState:
        """The state before the first step from `value`, perhaps with an earlier solve's factors."""
        stale = None if lu is None else jnp.array(False)
        if lu is None and self.factorizes:
            lu = LU.identity(len(value), value.dtype)
        state = SolverState(
            value=value,
            response=mdp.respond(value),
            total_discount=mdp.total_discount(),
            shift=jnp.zeros((), value.dtype),
            lu=lu,
            stale=stale,
            steps=jnp.zeros((), jnp.int32),
        )
        return state.recentered()

    @abc.abstractmethod
    def step(self, mdp: SoftMDP, state: SolverState) -> SolverState:
        """One step."""

    def _moved(self, mdp: SoftMDP, state: SolverState, value: Float[Array, "S"], **changes):
        """The state at another value."""
        response = mdp.shifted(state.shift, state.total_discount).respond(value)
        moved = dataclasses.replace(
            state, value=value, response=response, steps=state.steps + 1, **changes
        )
        return moved.recentered()

    def accuracy(self, mdp: SoftMDP, state: SolverState) -> Accuracy:
        """The residual of the state and the error bounds that follow from it."""
        shifted = mdp.shifted(state.shift, state.total_discount)
        return measure_accuracy(shifted, state.value, state.response, state.total_discount)

    def terminate(self, mdp: SoftMDP, state: SolverState) -> Bool[Array, ""]:
        """Whether both tolerances are met or nothing finite is left to improve."""
        accuracy = self.accuracy(mdp, state)
        met = accuracy.meets(self.rtol, self.policy_tolerance)
        return met | ~jnp.isfinite(accuracy.residual)


class ValueIteration(Solver):
    """Soft value iteration, V ← T V: cheap steps, error shrinking by γ in each.

    Takes about log(1/rtol)/(1 - γ) steps of O(S²A). Prefer `PolicyIteration` unless S is large
    or γ is far below 1.
    """

    def step(self, mdp: SoftMDP, state: SolverState) -> SolverState:
        """One sweep."""
        return self._moved(mdp, state, state.response.value)


class PolicyIteration(Solver):
    """Soft policy iteration: Newton's method on V - T V, quadratically convergent.

    V ← V + (I - γP_π)^{-1}(T V - V). T is convex, so it converges from any V, usually in fewer
    than ten steps of O(S³ + S²A), whatever γ and τ.
    """

    max_steps: int | Int[Array, ""] = 200

    factorizes: ClassVar[bool] = True

    def step(self, mdp: SoftMDP, state: SolverState) -> SolverState:
        """Evaluate the soft-greedy policy of the current value.

        A warm start may bring an earlier solve's factors. They are used (the chord method) for as
        long as a step reduces the residual by `_CHORD`: then it costs O(S²A) instead of O(S³).
        """

        def system():
            return mdp.policy_system(state.response.policy)

        residual = state.response.value - state.value
        if state.stale is None:
            matrix = system()
            lu = factorize(jax.lax.stop_gradient(matrix))
            value = state.value + linear_solve(matrix, residual, lu=lu)
            return self._moved(mdp, state, value, lu=lu)
        lu = jax.lax.cond(state.stale, lambda: factorize(system()), lambda: state.lu)
        moved = self._moved(mdp, state, state.value + back_substitute(lu, residual), lu=lu)
        remaining = jnp.max(jnp.abs(moved.response.value - moved.value))
        size = jnp.max(jnp.abs(residual))
        served = remaining <= _CHORD * size
        # Stale factors may also lead away from the solution: then the step is taken back.
        keep = state.stale | (remaining < size)
        moved = jax.tree.map(lambda a, b: jnp.where(keep, a, b), moved, state)
        return dataclasses.replace(moved, stale=~served, steps=state.steps + 1)
