"""The user's entry to the outer loop: one start or many, compiled once, stopped at will."""

import functools
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from sobirl.bilevel.continuation import GeometricContinuation
from sobirl.bilevel.coupling import check_coupling
from sobirl.bilevel.driver import drive
from sobirl.bilevel.loop import Optimizer, OptimizerOf, Projector, init, optimizer_of, run_chunk
from sobirl.bilevel.optimizers import named_optimizer
from sobirl.bilevel.problem import BilevelProblem
from sobirl.bilevel.recorder import Recorder
from sobirl.bilevel.result import Result, make_result, stationarity
from sobirl.bilevel.rounds import SuccessiveHalving, running_starts
from sobirl.bilevel.starts import first_finite, start_settings, starting_points
from sobirl.core.errors import InvalidInputError
from sobirl.core.hoisting import hoisting_jit
from sobirl.core.protocols import Method
from sobirl.core.status import Status
from sobirl.hypergrad.checks import check_start
from sobirl.hypergrad.methods import advice, as_method
from sobirl.mdp.sharding import device_mesh, shard_batch

_LARGEST_CHUNK = 1000

# Compiled once for a problem, a method and an optimizer: a second call with the same ones is fast.
_init = hoisting_jit(init)
_run_chunk = hoisting_jit(run_chunk)


def minimize(
    problem: BilevelProblem,
    x0: PyTree | Callable[[Key[Array, ""]], PyTree],
    method: Method | type | str | None = None,
    optimizer: Optimizer | OptimizerOf | str | None = None,
    num_steps: int | float | np.integer = 500,
    key: Key[Array, ""] | int = 0,
    *,
    starts: int | float | np.integer = 1,
    learning_rates: Float[Array | np.ndarray, "starts"] | None = None,
    rounds: SuccessiveHalving | int | None = None,
    continuation: GeometricContinuation | None = None,
    projection: Projector | None = None,
    tolerance: float = 1e-6,
    early_stop: bool = False,
    progress: bool | None = None,
    chunk_size: int | float | np.integer | None = None,
    recorder: Recorder | None = None,
    devices: Sequence[Any] | None = None,
) -> Result:
    """Minimize a bilevel problem's φ(x) by steps along (estimates of) its hyper-gradient.

    A further call with the same problem, method and optimizer objects compiles nothing.

    Args:
        problem: follower and objective.
        x0: the first x (any pytree of float arrays); with `starts` above 1, either with a leading
            start axis or a function from a key to one first x.
        method: how to get the hyper-gradient, `Exact()` by default; a class stands for its instance
            with defaults, and so does a name, such as "exact".
        optimizer: any first-order optax optimizer (no line searches), or the name of one, which
            then has the step size 1e-2: "adam" (the default), "scalar_adam" (the default with a
            projection), "sgd", ...; or, with `learning_rates`, a function from a step size to one,
            like `optax.adam`, or its name.
        num_steps: outer steps, a whole number.
        key: a typed JAX key or an integer seed.
        starts: how many starts run in one program, batched by `vmap` on accelerators and one by
            one on a CPU; one that fails leaves the others be.
        learning_rates: one step size a start (starts,), for an optimizer given as a function.
        rounds: let all starts make a few steps and only the best of them go on, in so many rounds
            (see `SuccessiveHalving`); `num_steps` is what the last ones make. By default all do.
        continuation: a schedule for the follower's temperature, see `GeometricContinuation`.
            Only steps at the problem's own temperature count for the best x and convergence.
        projection: maps x to the nearest point of the set that it must lie in, for example
            `box(0, 1)`, `simplex(1)` or `budget(10, lower=0)`; applied to x0 and after every
            step. With plain gradient descent (`optax.sgd`) that is the projected-gradient method.
            Optimizers that scale entries one by one (Adam) are refused where the projection
            couples entries (all but a `box`), see `scalar_adam`.
        tolerance: `converged` means that the hyper-gradient's norm fell below it; with a
            projection P, that the projected gradient's, ‖x - P(x - ∇φ)‖, did.
        early_stop: end once every start has converged, looked at every `chunk_size` steps.
        progress: show a progress bar; by default on a terminal only.
        chunk_size: the most steps in one call of the compiled program; slow ones get fewer, so
            that Ctrl-C and the progress bar act twice a second. A twenty-fifth of all steps, at
            most 1000, by default.
        devices: spread the starts over these, the same number on each (`jax.devices()` for all);
            by default one device does them all. Goes without `rounds`.
        recorder: keeps the run while it goes on and takes it up where it ended, for example
            `sobirl.Checkpoint(path)`.

    Returns:
        the best and the last x, the history of every step, and timings; see `Result`.

    Raises:
        InvalidInputError: an argument is out of its range, x0 does not fit `starts` or the
            projection, the method does not fit the problem, or the optimizer does not go with the
            projection.
        KeyboardInterrupt: Ctrl-C before the first step was done, or with a recorder, which then
            has all that was done. Otherwise the first Ctrl-C ends the run and what was done is
            returned; a second one does not wait for that.

    Warns:
        RuntimeWarning: a lower level or an adjoint of the best start missed its tolerance; see
            `Result.status`.
    """
    method = as_method(method)
    if optimizer is None:
        optimizer = "adam" if projection is None else "scalar_adam"
    if isinstance(optimizer, str):
        optimizer = named_optimizer(optimizer, with_learning_rate=learning_rates is None)
    if (learning_rates is None) == callable(optimizer):
        raise InvalidInputError(
            "learning_rates: give one a start together with an optimizer that is a function of it, "
            "for example optimizer=optax.adam"
        )
    num_steps, starts = whole_number("num_steps", num_steps), whole_number("starts", starts)
    chunk_size = min(-(-num_steps // 25), _LARGEST_CHUNK) if chunk_size is None else chunk_size
    chunk_size = whole_number("chunk_size", chunk_size)
    if not tolerance >= 0:
        raise InvalidInputError(f"tolerance: must not be negative, got {tolerance}")
    key = jax.random.key(key) if isinstance(key, (int, np.integer)) else key
    start_key, run_key = jax.random.split(key)
    xs = starting_points(x0, starts, start_key, projection)
    # Eagerly, so that problem and method can refuse what they cannot work with.
    check_start(method, problem, first_finite(xs, starts), run_key)
    if not isinstance(rounds, SuccessiveHalving):
        rounds = SuccessiveHalving(1 if rounds is None else rounds)
    schedule = rounds.schedule(starts, num_steps)
    mesh = None
    if devices is not None:
        mesh = device_mesh("starts", devices)
        if starts % mesh.size or starts == 1 or len(schedule) > 1:
            raise InvalidInputError(
                f"devices: {starts} starts in {len(schedule)} rounds cannot be spread over "
                f"{mesh.size} devices; take a multiple of them, in one round"
            )
    settings = start_settings(learning_rates, continuation, starts, schedule[0][0])
    if projection is not None:
        x, setting = jax.tree.map(lambda leaf: leaf[0], (xs, settings))
        check_coupling(optimizer_of(optimizer, setting), projection, x)

    clock = time.perf_counter()

    keys = run_key if starts == 1 else jax.random.split(run_key, starts)
    if starts == 1:
        xs, settings = jax.tree.map(lambda leaf: leaf[0], (xs, settings))
    if mesh is not None:
        xs, keys, settings = shard_batch((xs, keys, settings), devices)
    state = _init(problem, method, optimizer, settings, xs, keys)

    def advance(state, count):
        running, left = (None, None) if starts == 1 else running_starts(state, schedule)
        now = count if left is None else min(count, left)
        state, records = _run_chunk(
            problem,
            method,
            settings,
            state,
            running,
            jnp.int32(now),
            projection,
            optimizer,
            chunk_size,
            mesh,
        )
        # Copies, because a slice would keep the whole chunk's rows.
        rows = {name: np.asarray(column)[:now].copy() for name, column in records.items()}
        if now == count:
            return state, rows
        state, more = advance(state, count - now)
        return state, {name: np.concatenate([rows[name], more[name]]) for name in rows}

    _, no_rows = advance(state, 0)  # what the first call sets up is set up here
    compile_seconds = time.perf_counter() - clock

    end = drive(
        advance,
        state,
        columns=no_rows.keys(),
        num_steps=num_steps,
        chunk_size=chunk_size,
        has_converged=functools.partial(_all_done, tolerance=tolerance) if early_stop else None,
        recorder=recorder,
        progress=progress,
        describe=lambda rows: f"objective {np.fmin.reduce(rows['objective'], axis=None):.6g}",
    )
    # One more step, of which only the record is kept: the objective and the norm at the last x.
    after, last = advance(end.state, 1)
    records = {name: np.concatenate([rows, last[name]]) for name, rows in end.records.items()}
    result = make_result(
        end.state.x,
        after,
        records,
        tolerance,
        advise=functools.partial(advice, method),
        interrupted=end.interrupted,
        compile_seconds=compile_seconds,
        run_seconds=end.seconds,
    )
    if result.status is not Status.CONVERGED:
        warnings.warn(f"minimize: {result.advice}", RuntimeWarning, stacklevel=2)
    return result


def whole_number(name: str, value: int | float | np.integer) -> int:
    """A count of steps or starts, for which 1e3 will do.

    Raises:
        InvalidInputError: it is no whole number from 1 to 2^31 - 1.
    """
    if not value >= 1:
        raise InvalidInputError(f"{name}: must be at least 1, got {value}")
    if value >= 2**31:
        raise InvalidInputError(f"{name}: must be below 2^31, got {value}")
    if value != int(value):
        raise InvalidInputError(f"{name}: must be a whole number, got {value}")
    return int(value)


def _all_done(records: dict[str, np.ndarray], tolerance: float) -> bool:
    """Whether every start has converged at the problem's own temperature, or will never."""
    norms = stationarity(records)[-1]
    factors = records.get("temperature_factor", np.ones(1))[-1]
    return bool(np.all(((norms < tolerance) & (factors == 1)) | ~np.isfinite(norms)))
