"""`solve`: the follower's response to a soft MDP, as a differentiable function."""

from typing import TypeVar, overload

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from sobirl.core.checks import Checked, Numbers, as_float_array, check_shape
from sobirl.core.errors import ConvergenceError, InvalidInputError
from sobirl.core.protocols import LowerLevel
from sobirl.core.response import Response
from sobirl.core.status import Status
from sobirl.mdp.soft_mdp import SoftMDP
from sobirl.solvers.accuracy import Accuracy
from sobirl.solvers.adjoint import Adjoint, Implicit
from sobirl.solvers.choice import as_solver
from sobirl.solvers.linear import State
from sobirl.solvers.solvers import Solver, SolverState


class Stats(eqx.Module):
    """What a solve cost and how exact it is.

    Attributes:
        steps: sweeps and Newton steps taken.
        sweeps: products with P that all of them took (`expect` or `push`).
        factorizations: matrices factorized.
        solver: who did it: the solver and its linear solver, chosen by size and structure.
        value_bound: bound of ‖V - V*‖_∞, at most residual/(1 - γ).
        policy_bound: bound of max |log π - log π*|, rounding included; in float32 with γ near 1
            it is far larger than the usual error.
    """

    steps: Int[Array, ""]
    sweeps: Int[Array, ""]
    factorizations: Int[Array, ""]
    value_bound: Float[Array, ""]
    policy_bound: Float[Array, ""]
    solver: str = eqx.field(static=True)


class Solution(Response):
    """The follower's response with its accuracy.

    Attributes:
        value: V* (S,).
        q: Q* (S,A).
        log_policy: log π* (S,A); `policy` is its exponential.
        residual: ‖T V - V‖_∞ at the last step.
        status_code: how the solve ended, a `Status` as an int32 array; see `status`.
        stats: steps and error bounds.
    """

    residual: Float[Array, ""]
    status_code: Int[Array, ""]
    stats: Stats

    @property
    def status(self) -> Status | Int[Array, "..."]:
        """How the solve ended: a `Status`; of traced (inside `jit`) or many solutions its integer.

        Integers compare with statuses: `solution.status == Status.CONVERGED` holds everywhere.
        """
        code = self.status_code
        if isinstance(code, jax.core.Tracer) or np.ndim(code):
            return code
        return Status(int(code))

    @property
    def response(self) -> Response:
        """The response alone."""
        return Response(self.value, self.q, self.log_policy)


Answer = TypeVar("Answer")


@overload
def solve(
    mdp: SoftMDP,
    solver: Solver | str | None = None,
    adjoint: Adjoint | None = None,
    initial_value: Numbers | None = None,
    throw: bool = True,
) -> Solution: ...


@overload
def solve(
    mdp: LowerLevel[Answer],
    solver: Solver | str | None = None,
    adjoint: Adjoint | None = None,
    initial_value: PyTree = None,
    throw: bool = True,
) -> Answer: ...


def solve(
    mdp: Checked[SoftMDP | LowerLevel],
    solver: Solver | str | None = None,
    adjoint: Adjoint | None = None,
    initial_value: PyTree = None,
    throw: bool = True,
) -> Solution | PyTree:
    """The optimal value, action value and policy of a soft MDP.

    Differentiable in every array of `mdp` (reward, transition, discount, temperature, reference
    policy), in forward and reverse mode and repeatedly; works under `jit` and `vmap`.

    Args:
        mdp: the soft MDP. An object of another type answers with its own
            `solve(initial_value=..., throw=...)`.
        solver: `PolicyIteration()`, `ValueIteration()`, or `Auto()` (the default), which chooses by
            size and structure; with tolerances and a linear solver. Or a name: "policy-iteration",
            "value-iteration", "auto".
        adjoint: `Implicit()` (the default) or `Unrolled()`.
        initial_value: V (S,) to start from; zeros by default.
        throw: raise if the tolerance is missed. With False look at `status`.

    Raises:
        ConvergenceError: the tolerance was missed (inside `jit`, JAX raises its own runtime error
            with the same text).
        InvalidInputError: `mdp` cannot be solved, or `initial_value` has the wrong shape.

    Source: Yang, Gao, Yuan (2025), section 2 and proposition 1.
    """
    if not isinstance(mdp, SoftMDP):
        if not isinstance(mdp, LowerLevel):
            raise InvalidInputError(
                f"mdp: expected a SoftMDP, or a lower level with a method solve; got "
                f"{type(mdp).__name__}"
            )
        return mdp.solve(initial_value=initial_value, throw=throw)
    if initial_value is None:
        initial_value = jnp.zeros(mdp.shape[0], mdp.reward.dtype)
    initial_value = as_float_array("initial_value", initial_value).astype(mdp.reward.dtype)
    check_shape("initial_value", initial_value, (mdp.shape[0],))
    solver = as_solver(solver)
    adjoint = Implicit() if adjoint is None else adjoint
    solution, _ = _solve(mdp, solver, adjoint, initial_value, None, throw)
    return _raise_unless_converged(solution) if throw else solution


def solve_with_state(
    mdp: SoftMDP,
    solver: Solver,
    adjoint: Adjoint,
    initial_value: Float[Array, "S"],
    linear: State = None,
) -> tuple[Solution, State]:
    """`solve(..., throw=False)` and the linear solver's last state, for a method's own adjoint.

    `linear` is the state that an earlier, similar solve gave.
    """
    return _solve(mdp, solver, adjoint, initial_value, linear, throw=False)


@eqx.filter_jit
def _solve(mdp, solver, adjoint, initial_value, linear, throw):
    solver = solver.resolve(mdp)
    state = adjoint.run(solver, mdp, initial_value, linear, throw)
    # The bounds are those of the last backup, whose value is the one returned.
    final = jax.lax.stop_gradient(state)
    accuracy = solver.accuracy(jax.lax.stop_gradient(mdp), final)
    status = _status(solver, jax.lax.stop_gradient(mdp), final, accuracy)
    response, shift = state.response.normalized(), jax.lax.stop_gradient(state.shift)
    value = response.value + shift
    # Adding the shift back rounds the value, which the reported residual owns up to.
    rounding = 2 * jnp.finfo(value.dtype).eps * jnp.max(jnp.abs(final.response.value + shift))
    residual = accuracy.residual + rounding
    discount = jnp.max(final.total_discount)
    solution = Solution(
        value=value,
        q=response.q + shift,
        log_policy=response.log_policy,
        residual=residual,
        status_code=status,
        stats=Stats(
            steps=state.steps,
            sweeps=state.work.sweeps,
            factorizations=state.work.factorizations,
            value_bound=residual / (1 - discount),
            policy_bound=accuracy.policy_bound + accuracy.policy_floor / 4,
            solver=f"{solver.name}; {solver.linear_solver.description}",
        ),
    )
    return solution, state.linear


def _status(solver: Solver, mdp: SoftMDP, state: SolverState, accuracy: Accuracy) -> Int[Array, ""]:
    """How a solve ended; later entries overrule earlier ones."""
    sums = jnp.where(mdp.discount > 0, state.total_discount / mdp.discount, 1.0)
    valid = jnp.all((mdp.discount >= 0) & (state.total_discount < 1) & (jnp.abs(sums - 1) < 2e-5))
    valid = valid & mdp.transition.is_nonnegative()
    findings = (
        # Of interest to those only who ask for a policy.
        (Status.ROUND_OFF, accuracy.policy_bound > jnp.maximum(0.1, solver.policy_tolerance)),
        (Status.STEP_LIMIT, ~accuracy.meets(solver.rtol, solver.policy_tolerance)),
        (Status.NOT_FINITE, ~jnp.isfinite(accuracy.residual)),
        (Status.INVALID, ~(valid & (mdp.temperature > 0))),
    )
    worst = jnp.int32(Status.CONVERGED)
    for status, found in findings:
        worst = jnp.where(found, jnp.int32(status), worst)
    return worst


def _raise_unless_converged(solution: Solution) -> Solution:
    """`solution`, or an error that says what to do."""
    if isinstance(solution.status_code, jax.core.Tracer):
        # On all arrays: compiled code drops a check of those that nobody reads.
        return eqx.branched_error_if(
            solution,
            solution.status_code != Status.CONVERGED,
            solution.status_code,
            [status.advice for status in Status],
        )
    worst = Status(int(np.max(solution.status_code)))
    if worst is not Status.CONVERGED:
        raise ConvergenceError(
            f"{worst.advice} After {int(np.max(solution.stats.steps))} steps the Bellman residual "
            f"was {float(np.max(solution.residual)):.3g}, the policy known to "
            f"{float(np.max(solution.stats.policy_bound)):.3g}."
        )
    return solution
