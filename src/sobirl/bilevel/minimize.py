"""The user's entry to the outer loop: one start or many, compiled once, stopped at will."""

import sys
import time
import warnings
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PyTree
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from sobirl.bilevel.continuation import GeometricContinuation
from sobirl.bilevel.loop import Optimizer, OptimizerOf, StartSettings, init, run_chunk
from sobirl.bilevel.problem import BilevelProblem
from sobirl.bilevel.result import Result, make_result
from sobirl.core.errors import InvalidInputError
from sobirl.core.protocols import Method
from sobirl.core.status import Status
from sobirl.hypergrad import Exact


def minimize(
    problem: BilevelProblem,
    x0: PyTree | Callable[[Key[Array, ""]], PyTree],
    method: Method | None = None,
    optimizer: Optimizer | OptimizerOf | None = None,
    num_steps: int = 500,
    key: Key[Array, ""] | int = 0,
    *,
    starts: int = 1,
    step_sizes: Float[Array | np.ndarray, "starts"] | None = None,
    continuation: GeometricContinuation | None = None,
    tolerance: float = 1e-6,
    early_stop: bool = False,
    progress: bool | None = None,
    chunk_size: int | None = None,
) -> Result:
    """Minimize a bilevel problem's φ(x) by steps along (estimates of) its hyper-gradient.

    Args:
        problem: follower and objective.
        x0: the first x (any pytree of float arrays); with `starts` above 1, either with a leading
            start axis or a function from a key to one first x.
        method: how to get the hyper-gradient; `Exact()` by default.
        optimizer: any first-order optax optimizer (no line searches), `optax.adam(1e-2)` by
            default; or, with `step_sizes`, a function from a step size to one, like `optax.adam`.
        num_steps: outer steps.
        key: a typed JAX key or an integer seed.
        starts: how many starts run side by side (one `vmap`); one that fails leaves the others be.
        step_sizes: one step size a start (starts,), for an optimizer given as a function.
        continuation: a schedule for the follower's temperature, see `GeometricContinuation`.
            Only steps at the problem's own temperature count for the best x and convergence.
        tolerance: `converged` means that the hyper-gradient's norm fell below it.
        early_stop: end once every start has converged.
        progress: show a progress bar; by default on a terminal only.
        chunk_size: steps in one call of the compiled program, between which Ctrl-C and the
            progress bar act; a twenty-fifth of all steps by default.

    Returns:
        the best and the last x, the history of every step, and timings; see `Result`.

    Raises:
        InvalidInputError: an argument is out of its range or x0 does not fit `starts`.
        KeyboardInterrupt: Ctrl-C before the first chunk was done; later, what was done is kept.

    Warns:
        RuntimeWarning: a lower level or an adjoint of the best start missed its tolerance; see
            `Result.status`.
    """
    method = Exact() if method is None else method
    optimizer = optax.adam(1e-2) if optimizer is None else optimizer
    if (step_sizes is None) == callable(optimizer):
        raise InvalidInputError(
            "step_sizes: give one a start together with an optimizer that is a function of it, "
            "for example optimizer=optax.adam"
        )
    chunk_size = -(-num_steps // 25) if chunk_size is None else chunk_size
    for name, count in (("num_steps", num_steps), ("starts", starts), ("chunk_size", chunk_size)):
        if count < 1:
            raise InvalidInputError(f"{name}: must be at least 1, got {count}")
    if not tolerance >= 0:
        raise InvalidInputError(f"tolerance: must not be negative, got {tolerance}")
    key = jax.random.key(key) if isinstance(key, (int, np.integer)) else key
    start_key, run_key = jax.random.split(key)
    xs = _starting_points(x0, starts, start_key)
    # Eagerly, so that problem and method can refuse what they cannot work with.
    method.init(problem, _first_finite(xs, starts), run_key)
    settings = _start_settings(step_sizes, continuation, starts, num_steps)

    clock = time.perf_counter()

    def init_one(settings, x, key):
        return init(problem, method, optimizer, settings, x, key)

    if starts > 1:
        state = jax.jit(jax.vmap(init_one))(settings, xs, jax.random.split(run_key, starts))
    else:
        xs, settings = jax.tree.map(lambda leaf: leaf[0], (xs, settings))
        state = jax.jit(init_one)(settings, xs, run_key)
    chunk = eqx.filter_jit(run_chunk).lower(
        problem, method, settings, state, jnp.int32(0), optimizer=optimizer, size=chunk_size
    )
    chunk = chunk.compile()

    def advance(state, count):
        state, records = chunk(
            problem, method, settings, state, jnp.int32(count), optimizer=optimizer, size=chunk_size
        )
        return state, {name: np.asarray(rows)[:count] for name, rows in records.items()}

    advance(state, 0)  # what the first call sets up is set up here
    compile_seconds = time.perf_counter() - clock

    clock = time.perf_counter()
    chunks, done, interrupted = [], 0, False
    with _progress_bar(progress) as bar:
        task = bar.add_task("minimizing", total=num_steps, objective="")
        try:
            while done < num_steps:
                count = min(chunk_size, num_steps - done)
                reached, records = advance(state, count)
                chunks.append(records)
                state, done = reached, done + count
                lowest = np.fmin.reduce(records["objective"], axis=None)
                bar.update(task, completed=done, objective=f"objective {lowest:.6g}")
                if early_stop and _all_done(records, tolerance):
                    break
        except KeyboardInterrupt:
            if not done:
                raise
            interrupted = True
    # One more step, of which only the record is kept: the objective and the norm at the last x.
    after, records = advance(state, 1)
    chunks = [*chunks, records]
    result = make_result(
        state.x,
        after,
        {name: np.concatenate([chunk[name] for chunk in chunks]) for name in records},
        tolerance,
        interrupted=interrupted,
        compile_seconds=compile_seconds,
        run_seconds=time.perf_counter() - clock,
    )
    if result.status is not Status.CONVERGED:
        warnings.warn(f"minimize: {result.status.advice}", RuntimeWarning, stacklevel=2)
    return result


def _all_done(records: dict[str, np.ndarray], tolerance: float) -> bool:
    """Whether every start has converged at the problem's own temperature, or will never."""
    norms = records["hypergradient_norm"][-1]
    factors = records.get("temperature_factor", np.ones(1))[-1]
    return bool(np.all(((norms < tolerance) & (factors == 1)) | ~np.isfinite(norms)))


def _start_settings(step_sizes, continuation, starts: int, num_steps: int) -> StartSettings:
    """The settings with a leading start axis.

    Raises:
        InvalidInputError: a length that is not `starts`, or a continuation that heats, or ends
            after the last step.
    """
    settings = StartSettings(step_sizes, continuation)
    for leaf in jax.tree.leaves(settings):
        if np.shape(leaf) not in ((), (starts,)):
            raise InvalidInputError(
                "step_sizes and continuation: expected one number or one a start, "
                f"({starts},); got shape {np.shape(leaf)}"
            )
    if continuation is not None:
        if not np.all(np.asarray(continuation.factor) >= 1):
            raise InvalidInputError(
                f"continuation: factor must be at least 1, got {continuation.factor}"
            )
        if not np.all(np.asarray(continuation.num_steps) < num_steps):
            raise InvalidInputError(
                f"continuation: must end before the last of {num_steps} steps, so that some are "
                f"made at the problem's own temperature; got {continuation.num_steps} steps"
            )
    return jax.tree.map(
        lambda leaf: jnp.broadcast_to(jnp.asarray(leaf, float), (starts,)), settings
    )


def _first_finite(xs: PyTree, starts: int) -> PyTree:
    """The first start without a NaN or an infinity.

    Raises:
        InvalidInputError: there is none.
    """
    for start in range(starts):
        x = jax.tree.map(lambda leaf, i=start: leaf[i], xs)
        if all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(x)):
            return x
    raise InvalidInputError("x0: must be finite")


def _starting_points(x0, starts: int, key) -> PyTree:
    """First points with a leading start axis.

    Raises:
        InvalidInputError: x0 has no leading axis of length `starts`, or holds no floats.
    """
    if callable(x0):
        return jax.vmap(x0)(jax.random.split(key, starts))
    xs = jax.tree.map(jnp.asarray, x0)
    for leaf in jax.tree.leaves(xs):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise InvalidInputError(f"x0: expected floating-point arrays, got {leaf.dtype}")
        if starts > 1 and leaf.shape[:1] != (starts,):
            raise InvalidInputError(
                f"x0: with starts={starts} every array needs a leading axis of {starts} (or give "
                f"a function from a key to one first x); got shape {leaf.shape}"
            )
    return xs if starts > 1 else jax.tree.map(lambda leaf: leaf[None], xs)


def _progress_bar(progress: bool | None) -> Progress:
    show = sys.stderr.isatty() if progress is None else progress
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        TimeRemainingColumn(),
        TextColumn("{task.fields[objective]}"),
        console=Console(stderr=True),
        transient=True,
        disable=not show,
    )
