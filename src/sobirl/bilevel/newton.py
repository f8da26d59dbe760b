"""Newton's method for problems with few parameters, such as maximum likelihood."""

import dataclasses
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from sobirl.bilevel.problem import BilevelProblem
from sobirl.bilevel.trust_region import FLAT, Point, Target, all_steps
from sobirl.core.errors import ConvergenceError, InvalidInputError
from sobirl.core.hoisting import hoisting_jit
from sobirl.core.status import Status
from sobirl.solvers import solve


@dataclasses.dataclass(frozen=True)
class NewtonResult:
    """What `minimize_newton` found. Arrays are NumPy's; n numbers are in x.

    Attributes:
        x: the last iterate, which has the lowest objective.
        objective: φ at `x`.
        gradient: ∇φ at `x`, like `x`.
        hypergradient_norm: ‖∇φ‖₂ at `x` over the free entries.
        converged: whether that norm is below the asked tolerance.
        message: how it ended, and what the Hessian says about x.
        hessian: ∇²φ at `x` (n,n), in the order of `jax.flatten_util.ravel_pytree(x)`.
        positive_definite: whether the free entries' block of it is, so that x is a strict minimum.
        inverse_hessian: its inverse (n,n), 0 for entries held fixed. None unless positive
            definite.
        covariance: of the estimate (n,n), if the objective is a negative log likelihood: the
            inverse Hessian of its *sum* over contexts, whereas φ is their mean unless the problem
            has weights of its own. Those are taken as they are: with weights φ is the likelihood.
            None unless positive definite.
        standard_errors: square roots of the diagonal of `covariance`, like `x`; NaN for entries
            held fixed, and everywhere unless positive definite.
        history: `objective` and `hypergradient_norm` after every step, (steps,).
        steps: steps taken, also those that were tried and taken back.
        compile_seconds: time to trace and compile; next to nothing for a problem of the same
            structure and shapes as an earlier one.
        run_seconds: time to run.
    """

    x: PyTree
    objective: float
    gradient: PyTree
    hypergradient_norm: float
    converged: bool
    message: str
    hessian: Float[np.ndarray, "n n"]
    positive_definite: bool
    inverse_hessian: Float[np.ndarray, "n n"] | None
    covariance: Float[np.ndarray, "n n"] | None
    standard_errors: PyTree
    history: dict[str, np.ndarray]
    steps: int
    compile_seconds: float
    run_seconds: float


def minimize_newton(
    problem: BilevelProblem,
    x0: PyTree,
    tolerance: float = 1e-8,
    max_steps: int = 100,
    *,
    free: PyTree | None = None,
) -> NewtonResult:
    """Minimize φ(x) with exact gradients and Hessians, by a trust-region Newton method.

    Both derivatives pass implicitly through the follower's response. The steps are those of
    scipy's `trust-exact`, which never raises φ and leaves saddle points, in coordinates in which
    the Hessian at x0 is the identity up to signs. Where φ can no longer tell two steps apart for
    round-off, plain Newton steps bring the gradient down to its own round-off.

    Args:
        problem: follower and objective.
        x0: the first x, any pytree of float arrays with few numbers: a step costs one solve of
            the follower and as many linear solves as there are numbers.
        tolerance: ‖∇φ‖₂ at which it stops.
        max_steps: steps after which it stops anyway.
        free: booleans like x0, False for entries that keep their value; by default all may move.

    Returns:
        the minimum, its Hessian, standard errors and the history; see `NewtonResult`.

    Raises:
        InvalidInputError: an argument is out of its range, or x0 holds no finite floats.
        ConvergenceError: the follower has no finite solution at x0. Later points of that kind
            are steps not taken.

    Source: Conn, Gould, Toint, Trust-Region Methods (2000), algorithm 7.3.4.
    """
    if not tolerance > 0:
        raise InvalidInputError(f"tolerance: must be positive, got {tolerance}")
    if max_steps < 1:
        raise InvalidInputError(f"max_steps: must be at least 1, got {max_steps}")
    x0 = jax.tree.map(jnp.asarray, x0)
    start, unravel = _flatten(x0)
    moving = _free_entries(x0, free)

    clock = time.perf_counter()
    compiled = _compiled_derivatives.compile(problem, x0)
    compile_seconds = time.perf_counter() - clock

    clock = time.perf_counter()
    target = Target(lambda flat: compiled(problem, unravel(flat)), start, moving)
    first = target(start[moving])
    if first.status:
        raise ConvergenceError(f"x0: {Status(first.status).advice}")
    steps = all_steps(target, first, tolerance, max_steps)
    last = steps[-1] if steps else first
    run_seconds = time.perf_counter() - clock

    x, gradient, hessian = target.full(last)
    positive_definite = last.curvature.smallest > FLAT
    inverse, covariance, errors = None, None, np.full(len(start), np.nan)
    if positive_definite:
        inverse = np.zeros_like(hessian)
        inverse[np.ix_(moving, moving)] = last.curvature.inverse()
        covariance = inverse / _contexts_averaged(problem)
        errors[moving] = np.sqrt(np.diag(covariance)[moving])

    return NewtonResult(
        x=unravel(x),
        objective=last.objective,
        gradient=unravel(gradient),
        hypergradient_norm=last.norm,
        converged=last.norm < tolerance,
        message=_message(last, tolerance, len(steps)),
        hessian=hessian,
        positive_definite=positive_definite,
        inverse_hessian=inverse,
        covariance=covariance,
        standard_errors=unravel(errors),
        history={
            "objective": np.array([point.objective for point in steps]),
            "hypergradient_norm": np.array([point.norm for point in steps]),
        },
        steps=len(steps),
        compile_seconds=compile_seconds,
        run_seconds=run_seconds,
    )


def _derivatives(
    problem: BilevelProblem, x: PyTree
) -> tuple[Float[Array, ""], Float[Array, "n"], Float[Array, "n n"], Int[Array, ""]]:
    """φ, ∇φ, ∇²φ and the worst status of the lower levels, from one solve of each."""
    flat, unravel = ravel_pytree(x)

    def value(flat):
        x = unravel(flat)

        def one(context):
            solution = solve(problem.lower(x, context), throw=False)
            # A lower level that is no `SoftMDP` may answer without a status.
            status = getattr(solution, "status_code", int(Status.CONVERGED))
            return problem.upper(x, solution, context), jnp.asarray(status)

        objectives, statuses = problem.each_context(one)
        return problem.average(objectives), jnp.max(statuses)

    def gradient(flat):
        (objective, status), gradient = jax.value_and_grad(value, has_aux=True)(flat)
        return gradient, (objective, gradient, status)

    hessian, (objective, gradient, status) = jax.jacfwd(gradient, has_aux=True)(flat)
    finite = jnp.isfinite(objective) & jnp.all(jnp.isfinite(gradient)) & jnp.isfinite(hessian).all()
    return objective, gradient, hessian, jnp.where(finite, status, Status.NOT_FINITE)


_compiled_derivatives = hoisting_jit(_derivatives)


def _contexts_averaged(problem: BilevelProblem) -> int:
    """How many contexts φ is the plain mean of; 1 if it is a sum with weights, or of one."""
    if problem.weights is None:
        return 1
    weights = np.asarray(problem.weights)
    return len(weights) if np.allclose(weights, 1 / len(weights), rtol=1e-5, atol=0) else 1


def _message(point: Point, tolerance: float, steps: int) -> str:
    if point.norm < tolerance:
        message = f"The gradient's norm, {point.norm:.2g}, is below the tolerance."
    else:
        advice = (
            "Round-off allows no less here: loosen the tolerance."
            if point.is_resolved()
            else "Start elsewhere, raise max_steps or loosen the tolerance."
        )
        message = (
            f"After {steps} steps the gradient's norm, {point.norm:.2g}, is above the tolerance "
            f"{tolerance:.2g}. {advice}"
        )
    smallest = point.curvature.smallest
    if smallest <= FLAT:
        meaning = (
            "x is no minimum"
            if smallest < -FLAT
            else "the objective is flat in some direction, so that x is not identified"
        )
        message += (
            f" The Hessian is not positive definite (smallest eigenvalue {smallest:.2g} at unit "
            f"diagonal): {meaning}, and there are no standard errors."
        )
    return message


def _flatten(x0: PyTree) -> tuple[np.ndarray, Callable]:
    """x0 as a vector of its own, and the way back.

    Raises:
        InvalidInputError: x0 is empty, or holds something else than finite floats.
    """
    for leaf in jax.tree.leaves(x0):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise InvalidInputError(f"x0: expected floating-point arrays, got {leaf.dtype}")
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, x0))
    start = np.concatenate([leaf.ravel() for leaf in leaves]) if leaves else np.empty(0)
    if not start.size or not np.isfinite(start).all():
        raise InvalidInputError(f"x0: expected at least one number, all finite; got {start}")
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]

    def unravel(flat):
        # In NumPy, because `ravel_pytree`'s way back costs as much as a small problem's solve.
        parts = zip(np.split(flat, ends), leaves, strict=True)
        return structure.unflatten(
            [part.reshape(leaf.shape).astype(leaf.dtype) for part, leaf in parts]
        )

    return start, unravel


def _free_entries(x0: PyTree, free: PyTree | None) -> np.ndarray:
    """Which entries of the flattened x0 may move, (n,) booleans.

    Raises:
        InvalidInputError: `free` is not like x0, or nothing is free.
    """
    if free is None:
        return np.ones(sum(leaf.size for leaf in jax.tree.leaves(x0)), bool)
    free = jax.tree.map(jnp.asarray, free)
    shapes, expected = (jax.tree.map(jnp.shape, tree) for tree in (free, x0))
    if shapes != expected:
        raise InvalidInputError(f"free: expected booleans like x0, {expected}; got {shapes}")
    moving = np.array(ravel_pytree(free)[0]).astype(bool)
    if not moving.any():
        raise InvalidInputError("free: at least one entry must be True")
    return moving
