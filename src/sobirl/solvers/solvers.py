"""Solvers of the soft Bellman equation V = T V: value iteration, policy iteration, and a choice."""

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
from sobirl.solvers.linear import (
    AutoLinear,
    LinearSolver,
    State,
    Work,
    linear_solve,
)
from sobirl.solvers.linear.auto import DENSE_STATES, is_small
from sobirl.solvers.patience import ROUND, hopeless

# The reduction of the residual by which the linear solver's state still serves.
_CHORD = 0.03
# The relative residual from which a step counts as Newton's own.
_NEWTON = 0.05


class SolverState(eqx.Module):
    """Where a solver stands.

    Attributes:
        value: V (S,), less `shift`.
        response: one backup at `value`, in the MDP shifted by `shift`.
        total_discount: γ Σ_s' P (S,A), which says what a shift does to the reward.
        shift: the constant taken out of V. For γ near 1 it is far larger than the differences
            between states, which alone decide the policy and would drown in its rounding.
        linear: the linear solver's state.
        steps: steps taken.
        work: sweeps and factorizations that they took.
    """

    value: Float[Array, "S"]
    response: Response
    total_discount: Float[Array, "S A"]
    shift: Float[Array, ""]
    linear: State
    steps: Int[Array, ""]
    work: Work

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
    """The contract: `step` on V, in the MDP shifted by `state.shift`, until `terminate`.

    Args:
        rtol: asked accuracy of V, relative to the largest of its differences and the rewards.
        policy_tolerance: asked accuracy of log π, absolute.
        max_steps: reaching this many steps is an error.
        linear_solver: solves the systems of Newton steps, derivatives and adjoints; by size and
            structure by default.

    Both tolerances have a round-off floor: nothing beyond the precision of the arrays is asked.
    """

    rtol: float | Float[Array, ""] = 1e-12
    policy_tolerance: float | Float[Array, ""] = 1e-12
    max_steps: int | Int[Array, ""] = 100_000
    linear_solver: LinearSolver = AutoLinear()

    name: ClassVar[str]

    def __check_init__(self):
        if isinstance(self.max_steps, int) and self.max_steps < 1:
            raise InvalidInputError(f"max_steps: must be at least 1, got {self.max_steps}")
        for name in ("rtol", "policy_tolerance"):
            tolerance = getattr(self, name)
            if isinstance(tolerance, (int, float)) and not tolerance >= 0:
                raise InvalidInputError(f"{name}: must not be negative, got {tolerance}")
        if not isinstance(self.linear_solver, LinearSolver):
            raise InvalidInputError(
                "linear_solver: expected one such as sobirl.DenseLU(), got "
                f"{type(self.linear_solver).__name__}"
            )

    def resolve(self, mdp: SoftMDP) -> "Solver":
        """The solver that will do the work for an MDP of this size and structure."""
        system = jax.eval_shape(lambda mdp: mdp.policy_system(mdp.reward), mdp)
        return dataclasses.replace(self, linear_solver=self.linear_solver.resolve(system))

    @property
    def factorizes(self) -> bool:
        """Whether `run` holds LAPACK calls or callbacks."""
        return self.linear_solver.factorizes

    def init(self, mdp: SoftMDP, value: Float[Array, "S"], linear: State = None) -> SolverState:
        """The state before the first step, perhaps with an earlier solve's `linear`."""
        response = mdp.respond(value)
        if linear is None:
            linear = self.linear_solver.init(mdp.policy_system(response.policy))
        state = SolverState(
            value=value,
            response=response,
            total_discount=mdp.total_discount(),
            shift=jnp.zeros((), value.dtype),
            linear=linear,
            steps=jnp.zeros((), jnp.int32),
            work=Work.of(sweeps=2),
        )
        return state.recentered()

    @abc.abstractmethod
    def step(self, mdp: SoftMDP, state: SolverState) -> SolverState:
        """One step."""

    def differentiable_step(self, mdp: SoftMDP, state: SolverState) -> SolverState:
        """One step through which derivatives can be taken."""
        return self.step(mdp, state)

    def run(self, mdp: SoftMDP, value: Float[Array, "S"], linear: State = None) -> SolverState:
        """Steps until the tolerance or the step limit."""
        return self.go_on(mdp, self.init(mdp, value, linear))

    def go_on(self, mdp: SoftMDP, state: SolverState) -> SolverState:
        """Further steps until the tolerance or the step limit."""
        return jax.lax.while_loop(
            lambda state: (state.steps < self.max_steps) & ~self.terminate(mdp, state),
            lambda state: self.step(mdp, state),
            state,
        )

    def _moved(
        self, mdp: SoftMDP, state: SolverState, value: Float[Array, "S"], work: Work | None = None
    ) -> SolverState:
        """The state one step on, at another value."""
        response = mdp.shifted(state.shift, state.total_discount).respond(value)
        done = state.work + Work.of(sweeps=1)
        moved = dataclasses.replace(
            state,
            value=value,
            response=response,
            steps=state.steps + 1,
            work=done if work is None else done + work,
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
    """Soft value iteration, V ← T V, with MacQueen's extrapolation where the discount is uniform.

    The error shrinks by γ a sweep in the common constant, and by γ|λ₂| in everything else, λ₂ the
    second eigenvalue of P_π. With D = T V - V the constant is extrapolated,
    V ← T V + γ/(1-γ) (max D + min D)/2, so that sweeps are spent on the rest alone. Where the
    discount varies (episodes that end) plain sweeps are made.
    """

    name: ClassVar[str] = "value-iteration"

    @property
    def factorizes(self) -> bool:
        """Sweeps alone do not."""
        return False

    def step(self, mdp: SoftMDP, state: SolverState) -> SolverState:
        """One sweep."""
        return self._moved(mdp, state, _swept(mdp, state))


class PolicyIteration(Solver):
    """Soft policy iteration: Newton's method on V - T V, quadratically convergent.

    V ← V + (I - γP_π)^{-1}(T V - V). T is convex, so it converges from any V, usually in fewer
    than ten steps, whatever γ and τ. With dense factors a step costs O(S³ + S²A).

    Args:
        sweeps: made after a step that does not yet converge quadratically. They carry the news of
            a changed policy to the neighbors for far less than a factorization costs. None is 0 up
            to 2,000 states and 50 above.
    """

    max_steps: int | Int[Array, ""] = 200
    sweeps: int | Int[Array, ""] | None = None

    name: ClassVar[str] = "policy-iteration"

    def go_on(self, mdp: SoftMDP, state: SolverState) -> SolverState:
        """A sweep, which often saves the first factorization; then steps."""
        state = jax.lax.cond(
            self.terminate(mdp, state),
            lambda: state,
            lambda: self._moved(mdp, state, _swept(mdp, state)),
        )
        return super().go_on(mdp, state)

    def step(self, mdp: SoftMDP, state: SolverState) -> SolverState:
        """Evaluate the soft-greedy policy of the current value.

        The linear solver may use what it knows of an earlier policy (the chord method). Where it
        does not look at the residual of what it finds, its knowledge serves for as long as a step
        reduces the Bellman residual by `_CHORD`. A step whose system was not solved and that does
        not reduce the residual either is replaced by a sweep.
        """
        system = mdp.policy_system(state.response.normalized().policy)
        residual = state.response.value - state.value
        solution = self.linear_solver.approximate(system, residual, state.linear)
        moved = self._moved(mdp, state, state.value + solution.solution, solution.work)
        size = jnp.max(jnp.abs(residual))
        remaining = jnp.max(jnp.abs(moved.response.value - moved.value))
        converging = remaining <= _CHORD * size
        keep = (remaining < size) | (solution.relative_residual <= _NEWTON)
        before = dataclasses.replace(state, work=moved.work)
        moved = jax.lax.cond(
            keep, lambda: moved, lambda: self._moved(mdp, before, _swept(mdp, state))
        )
        serves = converging | jnp.array(self.linear_solver.verifies)
        linear = jax.tree.map(
            lambda old, new: jnp.where(serves, old, new),
            solution.state,
            self.linear_solver.forget(solution.state),
        )
        return self._smoothed(mdp, dataclasses.replace(moved, linear=linear), converging)

    def _smoothed(self, mdp: SoftMDP, state: SolverState, converging: Array) -> SolverState:
        """The state after some sweeps, unless none are needed."""
        few = mdp.shape[0] <= DENSE_STATES
        sweeps = (0 if few else 50) if self.sweeps is None else self.sweeps
        if isinstance(sweeps, int) and sweeps == 0:
            return state
        steps = state.steps
        state = jax.lax.fori_loop(
            0,
            jnp.where(converging, 0, sweeps),
            lambda _, s: self._moved(mdp, s, _swept(mdp, s)),
            state,
        )
        return dataclasses.replace(state, steps=steps)

    def differentiable_step(self, mdp: SoftMDP, state: SolverState) -> SolverState:
        """One step with a system solved to rounding."""
        system = mdp.policy_system(state.response.normalized().policy)
        residual = state.response.value - state.value
        solution = linear_solve(system, residual, solver=self.linear_solver)
        return self._moved(mdp, state, state.value + solution)


class Auto(Solver):
    """Policy iteration for small MDPs; for others value iteration, then policy iteration.

    Small are 500 states, or 2,000 of a full table. MDPs that mix fast are solved by a few dozen
    sweeps. Where the rate of the sweeps would take more than `patience` of them, policy iteration
    goes on from there with the linear solver that fits the structure. `Solution.stats` says what
    was done.
    """

    max_steps: int | Int[Array, ""] = 500

    name: ClassVar[str] = "auto"

    def resolve(self, mdp: SoftMDP) -> Solver:
        """`PolicyIteration` or `SweepsThenNewton`."""
        chosen = (PolicyIteration if is_small(mdp.transition) else SweepsThenNewton)(
            rtol=self.rtol,
            policy_tolerance=self.policy_tolerance,
            max_steps=self.max_steps,
            linear_solver=self.linear_solver,
        )
        return Solver.resolve(chosen, mdp)

    def step(self, mdp: SoftMDP, state: SolverState) -> SolverState:
        """As the chosen solver does."""
        return self.resolve(mdp).step(mdp, state)


class SweepsThenNewton(Solver):
    """Value iteration while it is fast, then policy iteration.

    Args:
        patience: the most sweeps worth making.
    """

    max_steps: int | Int[Array, ""] = 500
    patience: int | Int[Array, ""] = 300

    name: ClassVar[str] = "value-iteration, policy-iteration"

    def step(self, mdp: SoftMDP, state: SolverState) -> SolverState:
        """One sweep."""
        return self._moved(mdp, state, _swept(mdp, state))

    def go_on(self, mdp: SoftMDP, state: SolverState) -> SolverState:
        """Sweeps in rounds while they are fast; then Newton steps."""

        def one_round(carry):
            state, before, _ = carry
            end = state.steps + ROUND
            state = jax.lax.while_loop(
                lambda s: (s.steps < end) & ~self.terminate(mdp, s),
                lambda s: self.step(mdp, s),
                state,
            )
            size, goal = self._distance(mdp, state)
            lost = hopeless(before, size, goal, state.steps, self.patience)
            return state, size, lost

        size, _ = self._distance(mdp, state)
        state, _, _ = jax.lax.while_loop(
            lambda c: ~c[2] & ~self.terminate(mdp, c[0]), one_round, (state, size, jnp.array(False))
        )
        newton = PolicyIteration(
            self.rtol, self.policy_tolerance, self.max_steps, self.linear_solver
        )
        return newton.go_on(mdp, state)

    def _distance(self, mdp, state):
        """The larger of the two error bounds, as a multiple of what is asked; and 1."""
        accuracy = self.accuracy(mdp, state)
        value_goal, policy_goal = accuracy.goals(self.rtol, self.policy_tolerance)
        size = jnp.maximum(accuracy.value_bound / value_goal, accuracy.policy_bound / policy_goal)
        return size, jnp.ones_like(size)


def _swept(mdp: SoftMDP, state: SolverState) -> Float[Array, "S"]:
    """T V, with the common constant extrapolated where the discount is the same everywhere."""
    if mdp.discount.ndim:
        return state.response.value
    change = state.response.value - state.value
    middle = (jnp.max(change) + jnp.min(change)) / 2
    return state.response.value + mdp.discount / (1 - mdp.discount) * middle
