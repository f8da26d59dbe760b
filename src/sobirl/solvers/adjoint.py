"""Derivatives of the response: by the implicit function theorem, or through the iteration."""

import abc
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sobirl.core.batching import sequential_on_cpu
from sobirl.core.response import Response
from sobirl.core.status import Status
from sobirl.mdp import PolicySystem, SoftMDP
from sobirl.solvers.linear import LinearSolution, LinearSolver, State, Work
from sobirl.solvers.solvers import Solver, SolverState


class Adjoint(eqx.Module):
    """The contract: run a solver and attach a derivative to its last state."""

    @abc.abstractmethod
    def run(
        self,
        solver: Solver,
        mdp: SoftMDP,
        value: Float[Array, "S"],
        linear: State,
        throw: bool,
    ) -> SolverState:
        """The solver's last state, differentiable in `mdp`."""


class Implicit(Adjoint):
    """The implicit function theorem: dV = (I - γP_π)^{-1} dT, whatever the solver did.

    Exact at the solution, in forward and reverse mode and to any order; nothing of the iteration
    is stored. The linear system is the business of the solver's linear solver, which goes on from
    what it knows after the last step.

    Args:
        rtol: asked relative residual of the linear system, with a round-off floor. Where it is
            missed, `throw=True` raises and `throw=False` makes the derivative NaN.
    """

    rtol: float | Float[Array, ""] = 1e-12

    def run(
        self,
        solver: Solver,
        mdp: SoftMDP,
        value: Float[Array, "S"],
        linear: State,
        throw: bool,
    ) -> SolverState:
        """The solver's last state, differentiable in `mdp`."""
        state = _run(solver, *jax.lax.stop_gradient((mdp, value, linear)))
        state = jax.lax.stop_gradient(state)
        shifted = mdp.shifted(state.shift)
        value = _attach(
            state.response.value,
            state.linear,
            shifted,
            solver=solver.linear_solver,
            rtol=self.rtol,
            throw=throw,
        )
        return eqx.tree_at(lambda s: s.response, state, _consistent(shifted, value))


class Unrolled(Adjoint):
    """Differentiation through the iteration itself: the second witness for `Implicit`.

    Start it cold: a warm start hides the iterations that carry the derivative. Steps are grouped
    in blocks of which only the first state is stored.

    Args:
        block: steps recomputed together in the backward pass; memory grows with
            max_steps/block + block.
    """

    block: int = 256

    def run(
        self,
        solver: Solver,
        mdp: SoftMDP,
        value: Float[Array, "S"],
        linear: State,
        throw: bool,
    ) -> SolverState:
        """The solver's last state, differentiable in `mdp` through every step."""

        def guarded_step(state, _):
            done = solver.terminate(jax.lax.stop_gradient(mdp), jax.lax.stop_gradient(state))
            return jax.lax.cond(
                done, lambda s: s, lambda s: solver.differentiable_step(mdp, s), state
            ), done

        @jax.checkpoint
        def run_block(state):
            return jax.lax.scan(guarded_step, state, None, length=self.block)[0]

        def guarded_block(state, _):
            done = solver.terminate(jax.lax.stop_gradient(mdp), jax.lax.stop_gradient(state))
            return jax.lax.cond(done, lambda s: s, run_block, state), None

        state = solver.init(mdp, jax.lax.stop_gradient(value))
        blocks = -(-solver.max_steps // self.block)
        state, _ = jax.lax.scan(guarded_block, state, None, length=int(blocks))
        response = _consistent(mdp.shifted(state.shift), state.response.value)
        return eqx.tree_at(lambda s: s.response, state, response)


def _run(solver: Solver, mdp: SoftMDP, value: Float[Array, "S"], linear: State) -> SolverState:
    """Steps until the solver's tolerance or its step limit."""

    def run(solver, mdp, value, linear):
        return solver.run(mdp, value, linear)

    # A solver that factors matrices runs one MDP after the other: each stops at its own time.
    return (sequential_on_cpu(run) if solver.factorizes else run)(solver, mdp, value, linear)


def _consistent(mdp: SoftMDP, value: Float[Array, "S"]) -> Response:
    """The response at the fixed point `value`: its own Q and the normalized policy of that Q."""
    response = mdp.respond(value).normalized()
    return Response(value, response.q, response.log_policy)


@eqx.filter_custom_jvp
def _attach(value, linear, mdp, *, solver, rtol, throw):
    """`value`, the fixed point of `mdp`, with the derivative of the implicit function theorem."""
    return value


@_attach.def_jvp
def _attach_jvp(primals, tangents, *, solver, rtol, throw):
    value, linear, mdp = primals
    # Called again, so that the derivative can itself be differentiated.
    value = _attach(value, linear, mdp, solver=solver, rtol=rtol, throw=throw)
    _, change = eqx.filter_jvp(lambda m: m.respond(value).value, (mdp,), (tangents[2],))
    system = mdp.policy_system(mdp.respond(value).normalized().policy)
    now = jax.lax.stop_gradient(system)

    def solve(b, transposed):
        got = solve_adjoint(solver, now, b, linear, rtol, transposed)
        if throw:
            return eqx.error_if(
                got.solution,
                ~got.ok & jnp.all(jnp.isfinite(b)),
                Status.ADJOINT_RESIDUAL.advice,
            )
        return jnp.where(got.ok, got.solution, jnp.nan)

    return value, jax.lax.custom_linear_solve(
        system.mv,
        change,
        solve=lambda _, b: solve(b, False),
        transpose_solve=lambda _, b: solve(b, True),
    )


def solve_adjoint(
    solver: LinearSolver,
    system: PolicySystem,
    b: Float[Array, "S"],
    linear: State,
    rtol: float | Float[Array, ""],
    transposed: bool,
) -> LinearSolution:
    """The linear system of a derivative, from what the solver knows."""
    return solver.solve(system, b, linear, rtol, transposed)


class Pullback(NamedTuple):
    """A cotangent on the response carried back to the soft MDP.

    Attributes:
        mdp: cotangent of every array of the MDP; its `reward` is the signed occupancy μ (S,A).
        adjoint: w (S,), the solution of (I - γP_π)ᵀ w = v̄.
        relative_residual: ‖v̄ - (I - γP_π)ᵀ w‖₁/‖v̄‖₁.
        ok: whether that residual is within the asked tolerance.
        linear: what the linear solver knows afterwards.
        work: the sweeps and factorizations of the adjoint system.
    """

    mdp: SoftMDP
    adjoint: Float[Array, "S"]
    relative_residual: Float[Array, ""]
    ok: Bool[Array, ""]
    linear: State
    work: Work


def pull_back(
    mdp: SoftMDP,
    response: Response,
    cotangent: Response,
    solver: LinearSolver,
    linear: State,
    rtol: float | Float[Array, ""],
) -> Pullback:
    """The reverse mode of `solve` written out, so that μ and the adjoint's residual can be seen.

    With F(M, V) = (T V, Q, log π) one backup and (v̄, q̄, m̄) the cotangent of the response: the
    adjoint solves (I - γP_π)ᵀ w = v̄ + ∂_V(Q, log π)ᵀ(q̄, m̄), and the MDP receives
    ∂_M F ᵀ(w, q̄, m̄). For m̄ = π∘g and v̄ = q̄ = 0 its reward part is (π∘g - w'π)/τ with
    w' = -τw, as in Yang, Gao, Yuan (2025), theorem 4.
    """
    direct = Response(jnp.zeros_like(cotangent.value), cotangent.q, cotangent.log_policy)
    _, pull_value = jax.vjp(mdp.respond, response.value)
    (through_value,) = pull_value(direct)
    got = solve_adjoint(
        solver,
        mdp.policy_system(response.policy),
        cotangent.value + through_value,
        linear,
        rtol,
        True,
    )
    _, pull_mdp = eqx.filter_vjp(lambda m: m.respond(response.value), mdp)
    (mdp_cotangent,) = pull_mdp(Response(got.solution, cotangent.q, cotangent.log_policy))
    return Pullback(mdp_cotangent, got.solution, got.relative_residual, got.ok, got.state, got.work)
