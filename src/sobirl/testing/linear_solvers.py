"""What every linear solver keeps to: one suite for ours and for yours."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sobirl.mdp import PolicySystem, SuccessorList
from sobirl.solvers.linear import LinearSolver, linear_solve
from sobirl.testing.conformance import ConformanceError, compiled

_STATES, _ACTIONS, _SUCCESSORS = 30, 2, 3
_RTOL = 1e-11


def check_linear_solver(solver: LinearSolver, *, seed: int = 0) -> None:
    """Check that a linear solver keeps the contract that solvers, adjoints and methods rely on.

    On policy systems with one discount, with several, and with episodes that end: `solve` agrees
    with dense linear algebra, plain and transposed, and reports its residual honestly; it does so
    whatever system its state belongs to, and for right-hand sides of 0. Its state keeps structure,
    shapes and dtypes. It works inside `jit`, under `vmap` and under derivatives of first and second
    order. What it cannot solve (a singular system, numbers that are not finite) is not `ok`.

    Call `jax.config.update("jax_enable_x64", True)` first.

    Args:
        solver: the linear solver.
        seed: of the systems.

    Raises:
        ConformanceError: a part of the contract is not kept.
    """
    rng = np.random.default_rng(seed)
    for kind in ("uniform", "varying", "ending"):
        system, other = _system(rng, kind), _system(rng, kind)
        b = jnp.asarray(rng.normal(size=_STATES))
        for transposed in (False, True):
            _check_solutions(solver, system, other, b, transposed, f"{kind} discounts")
    system, other = _system(rng, "uniform"), _system(rng, "uniform")
    _check_batches(solver, system, other, b)
    _check_derivatives(solver, system, b)
    _check_failures(solver, system, b)


def _system(rng, kind: str) -> PolicySystem:
    """A random policy system with few successors, most of them near."""
    states = np.arange(_STATES)[:, None, None]
    steps = rng.integers(-2, 3, size=(_STATES, _ACTIONS, _SUCCESSORS))
    transition = SuccessorList(
        (states + steps) % _STATES, rng.dirichlet(np.ones(_SUCCESSORS), (_STATES, _ACTIONS))
    )
    policy = jnp.asarray(rng.dirichlet(np.ones(_ACTIONS), _STATES))
    if kind == "uniform":
        discount = jnp.asarray(0.95)
        return PolicySystem(transition, discount * policy, discount)
    discount = jnp.asarray(rng.uniform(0.5, 0.95, (_STATES, _ACTIONS)))
    if kind == "ending":
        discount = discount.at[::7].set(0.0)
    return PolicySystem(transition, discount * policy, None)


def _dense(system: PolicySystem, b, transposed: bool):
    matrix = np.asarray(system.as_matrix())
    return np.linalg.solve(matrix.T if transposed else matrix, np.asarray(b))


@eqx.filter_jit
def _solve(solver, system, b, state, transposed: bool):
    """Systems of one structure share a program."""
    return solver.solve(system, b, state, _RTOL, transposed)


def _check_solutions(solver, system, other, b, transposed: bool, where: str) -> None:
    way = "transposed" if transposed else "plain"
    solver = solver.resolve(system)

    def solve(system, b, state):
        return _solve(solver, system, b, state, transposed)

    blank = solver.init(system)
    states = {
        "a blank state": blank,
        "the state of another system": solve(other, 2 * b, blank).state,
        "a state prepared for it": solver.prepare(system, blank),
        "a forgotten state": solver.forget(solve(other, b, blank).state),
    }
    expected = _dense(system, b, transposed)
    for name, state in states.items():
        if not _alike(state, blank):
            raise ConformanceError(f"{solver.name}: {name} is not shaped like the blank one")
        got = solve(system, b, state)
        error = float(jnp.max(jnp.abs(got.solution - expected)) / np.abs(expected).max())
        if not got.ok or error > 1e-8:
            raise ConformanceError(
                f"{solver.name}: {way} system with {where}, from {name}: relative error "
                f"{error:.2g}, relative residual {float(got.relative_residual):.2g}, ok "
                f"{bool(got.ok)}"
            )
        operator = np.asarray(system.as_matrix())
        left = np.asarray(b) - (operator.T if transposed else operator) @ np.asarray(got.solution)
        order = 1 if transposed else np.inf
        honest = np.linalg.norm(left, order) / np.linalg.norm(b, order)
        if abs(honest - float(got.relative_residual)) > 1e-12 + 0.1 * honest:
            raise ConformanceError(
                f"{solver.name}: reports a relative residual of "
                f"{float(got.relative_residual):.3g} where it is {honest:.3g}"
            )
    nothing = solve(system, jnp.zeros_like(b), states["the state of another system"])
    if not nothing.ok or jnp.any(nothing.solution != 0) or nothing.relative_residual != 0:
        raise ConformanceError(f"{solver.name}: the solution for b = 0 must be 0, exactly")


def _check_batches(solver, system, other, b) -> None:
    solver = solver.resolve(system)
    systems = jax.tree.map(lambda x, y: jnp.stack([x, y]), system, other)
    for transposed in (False, True):

        def solve(system, b, transposed=transposed):
            return solver.solve(system, b, solver.init(system), _RTOL, transposed)

        got = compiled(jax.vmap(solve, (0, None)))(systems, b)
        expected = [_dense(s, b, transposed) for s in (system, other)]
        if not jnp.all(got.ok) or not np.allclose(got.solution, expected, rtol=1e-8, atol=1e-8):
            raise ConformanceError(f"{solver.name}: batches do not agree with single systems")


def _check_derivatives(solver, system: PolicySystem, b: Array) -> None:
    """First and second order, against dense linear algebra."""

    def curve(solve):
        def value(t):
            changed = PolicySystem(system.transition, system.weights * t, None)
            return jnp.sum(solve(changed, b * t) ** 2)

        slope = jax.grad(value)
        return jnp.array([value(0.9), slope(0.9), jax.jvp(slope, (0.9,), (1.0,))[1]])

    for transposed in (False, True):

        def ours(system, b, transposed=transposed):
            return linear_solve(system, b, transposed, solver)

        def dense(system, b, transposed=transposed):
            matrix = system.as_matrix()
            return jnp.linalg.solve(matrix.T if transposed else matrix, b)

        got, expected = compiled(lambda: curve(ours))(), compiled(lambda: curve(dense))()
        if not np.allclose(got, expected, rtol=1e-7):
            raise ConformanceError(
                f"{solver.name}: value, slope and curvature {got}, by dense algebra {expected}"
            )


def _check_failures(solver, system: PolicySystem, b: Array) -> None:
    solver = solver.resolve(system)
    closed = jnp.ones_like(system.weights) / system.weights.shape[1]  # γ = 1: singular
    cases = {
        "a singular system": (PolicySystem(system.transition, closed, None), jnp.abs(b) + 1),
        "a right-hand side of NaN": (system, b.at[0].set(jnp.nan)),
        "a system of NaN": (
            PolicySystem(system.transition, system.weights.at[0, 0].set(jnp.nan), None),
            b,
        ),
    }
    for name, (case, right) in cases.items():
        got = _solve(solver, case, right, solver.init(case), True)
        if got.ok:
            raise ConformanceError(f"{solver.name}: {name} is reported as solved")


def _alike(tree, other) -> bool:
    def shape(leaf):
        return jnp.shape(leaf), jnp.asarray(leaf).dtype

    return jax.tree.structure(tree) == jax.tree.structure(other) and all(
        shape(a) == shape(b)
        for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)
    )
