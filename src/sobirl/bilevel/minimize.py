"""The outer loop: hyper-gradient steps on the leader's parameters, from one start or many."""

import dataclasses
import functools
import sys
import time
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from sobirl.bilevel.continuation import GeometricContinuation
from sobirl.bilevel.problem import BilevelProblem
from sobirl.core.errors import InvalidInputError
from sobirl.core.protocols import Method
from sobirl.core.status import Status
from sobirl.hypergrad import Exact


Optimizer = optax.GradientTransformation


@dataclasses.dataclass(frozen=True)
class Result:
    """What `minimize` found. Arrays are NumPy's; with several starts the best one is shown.

    Attributes:
        x: the iterate with the lowest objective, over all steps and starts.
        objective: φ at `x`, as the method saw it.
        final_x: the last iterate of the best start.
        final_objective: φ at `final_x`.
        hypergradient_norm: ‖∇φ‖₂ at `final_x`.
        converged: whether that norm is below the asked tolerance.
        status: the worst `Status` of the best start's steps; its `advice` says what to do.
        best_start: which start it was.
        start_x: the best iterate of every start, with a leading start axis.
        start_objectives: φ at them, (starts,); NaN for a start that never had a finite objective.
        history: per step, (steps,) or with several starts (steps, starts): `hypergradient_norm`
            at x_k, `objective` at x_{k+1}, and the method's metrics at x_k.
        steps: outer steps taken.
        interrupted: whether Ctrl-C ended the run early.
        compile_seconds: time to trace and compile.
        run_seconds: time to run.
    """

    x: PyTree
    objective: float
    final_x: PyTree
    final_objective: float
    hypergradient_norm: float
    converged: bool
    status: Status
    best_start: int
    start_x: PyTree
    start_objectives: np.ndarray
    history: dict[str, np.ndarray]
    steps: int
    interrupted: bool
    compile_seconds: float
    run_seconds: float


class RunState(eqx.Module):
    """Everything that the next step depends on."""

    x: PyTree
    optimizer_state: PyTree
    method_state: PyTree
    step: Int[Array, ""]
    key: Key[Array, ""]
    best_x: PyTree
    best_objective: Float[Array, ""]


def minimize(
    problem: BilevelProblem,
    x0: PyTree | Callable[[Key[Array, ""]], PyTree],
    method: Method | None = None,
    optimizer: Optimizer | Callable[[Float[Array, ""]], Optimizer] | None = None,
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
        optimizer: any optax optimizer, `optax.adam(1e-2)` by default; or, with `step_sizes`, a
            function from a step size to an optimizer, for example `optax.adam` itself.
        num_steps: outer steps.
        key: a typed JAX key or an integer seed.
        starts: how many starts run side by side (one `vmap`); one that fails leaves the others be.
        step_sizes: one step size a start (starts,), for an optimizer given as a function.
        continuation: a schedule for the follower's temperature, see `GeometricContinuation`.
            Only steps at the problem's own temperature count for the best x.
        tolerance: `converged` means that the hyper-gradient's norm fell below it.
        early_stop: end once every start has converged.
        progress: show a progress bar; by default on a terminal only.
        chunk_size: steps in one call of the compiled program, between which Ctrl-C and the
            progress bar act; a twenty-fifth of all steps by default.

    Returns:
        the best and the last x, the history of every step, and timings; see `Result`.

    Raises:
        InvalidInputError: an argument is out of its range or x0 does not fit `starts`.
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
    key = jax.random.key(key) if isinstance(key, int) else key
    start_key, run_key = jax.random.split(key)
    xs = _starting_points(x0, starts, start_key)
    settings = jax.tree.map(  # what may differ from start to start
        lambda leaf: jnp.broadcast_to(jnp.asarray(leaf, float), (starts,)),
        {"continuation": continuation, "step_size": step_sizes},
    )
    many = starts > 1
    first = jax.tree.map(lambda leaf: leaf[0], xs)
    method.init(problem, first, run_key)  # eagerly, so that the method can refuse the problem

    def optimizer_of(settings):
        return optimizer(settings["step_size"]) if callable(optimizer) else optimizer

    def init(x, key, settings):
        key, method_key = jax.random.split(key)
        dtype = jax.eval_shape(problem.value, x).dtype
        return RunState(
            x=x,
            optimizer_state=optimizer_of(settings).init(x),
            method_state=method.init(problem, x, method_key),
            step=jnp.zeros((), jnp.int32),
            key=key,
            best_x=x,
            best_objective=jnp.full((), jnp.inf, dtype),
        )

    def step(problem, method, state, settings):
        at, own_temperature, record = problem, True, {}
        continuation = settings["continuation"]
        if continuation is not None:
            factor = continuation(state.step)
            at, own_temperature = problem.at_temperature(factor), factor <= 1
            record["temperature_factor"] = factor
        next_key, method_key = jax.random.split(state.key)
        hypergradient, method_state, metrics = method.estimate(
            at, state.x, state.method_state, method_key
        )
        norm = optax.tree.norm(hypergradient)
        better = (metrics["objective"] < state.best_objective) & own_temperature
        updates, optimizer_state = optimizer_of(settings).update(hypergradient, state.optimizer_state, state.x)
        # A start whose hyper-gradient is not finite stays where it is, and its status says so.
        finite = jnp.isfinite(norm)
        moved = (optax.apply_updates(state.x, updates), optimizer_state)
        x, optimizer_state = _select(finite, moved, (state.x, state.optimizer_state))
        metrics["status"] = jnp.where(finite, metrics["status"], int(Status.NOT_FINITE))
        next_state = RunState(
            x=x,
            optimizer_state=optimizer_state,
            method_state=method_state,
            step=state.step + 1,
            key=next_key,
            best_x=_select(better, state.x, state.best_x),
            best_objective=jnp.where(better, metrics["objective"], state.best_objective),
        )
        return next_state, {"hypergradient_norm": norm, **metrics, **record}

    def run_chunk(problem, method, settings, state, count):
        step_all = functools.partial(step, problem, method)
        # One start needs no batch axis, which would cost it its plain loops.
        step_all = jax.vmap(step_all) if many else step_all
        record = jax.eval_shape(step_all, state, settings)[1]
        records = jax.tree.map(lambda r: jnp.zeros((chunk_size, *r.shape), r.dtype), record)

        def body(i, carry):
            state, records = carry
            state, record = step_all(state, settings)
            return state, jax.tree.map(lambda rs, r: rs.at[i].set(r), records, record)

        return jax.lax.fori_loop(0, count, body, (state, records))

    clock = time.perf_counter()
    if many:
        state = jax.jit(jax.vmap(init))(xs, jax.random.split(run_key, starts), settings)
    else:
        xs, settings = jax.tree.map(lambda leaf: leaf[0], (xs, settings))
        state = jax.jit(init)(xs, run_key, settings)
    args = (problem, method, settings, state, jnp.zeros((), jnp.int32))
    compiled = eqx.filter_jit(run_chunk).lower(*args).compile()
    jax.block_until_ready(compiled(*args))  # no steps: what the first call sets up is set up here
    compile_seconds = time.perf_counter() - clock

    clock = time.perf_counter()
    chunks, done, interrupted = [], 0, False
    with _progress_bar(progress) as bar:
        task = bar.add_task("minimizing", total=num_steps, objective="")
        try:
            while done < num_steps:
                count = min(chunk_size, num_steps - done)
                state, records = compiled(
                    problem, method, settings, state, jnp.asarray(count, jnp.int32)
                )
                chunks.append(jax.tree.map(lambda r, n=count: np.asarray(r)[:n], records))
                done += count
                best = np.min(chunks[-1]["objective"])
                bar.update(task, completed=done, objective=f"objective {best:.6g}")
                if early_stop and np.all(chunks[-1]["hypergradient_norm"][-1] < tolerance):
                    break
        except KeyboardInterrupt:
            interrupted = True
    # One more step, of which only the record is kept: the objective and the norm at the last x.
    after, records = compiled(problem, method, settings, state, jnp.asarray(1, jnp.int32))
    chunks.append(jax.tree.map(lambda r: np.asarray(r)[:1], records))
    jax.block_until_ready(after)
    run_seconds = time.perf_counter() - clock

    history = {name: np.concatenate([c[name] for c in chunks]) for name in chunks[0]}
    last = {name: values[-1] for name, values in history.items()}
    history = {
        name: values[1:] if name == "objective" else values[:-1] for name, values in history.items()
    }
    best_x, best_objective = after.best_x, np.asarray(after.best_objective)
    final_x = state.x
    if not many:
        best_x, final_x = jax.tree.map(lambda leaf: leaf[None], (best_x, final_x))
        best_objective, last = best_objective[None], {k: v[None] for k, v in last.items()}
    start_objectives = np.where(np.isfinite(best_objective), best_objective, np.nan)
    best = int(np.argmin(best_objective))

    def of_best(tree):
        return jax.tree.map(lambda leaf: np.asarray(leaf[best]), tree)

    statuses = history["status"].reshape(done, starts)[:, best]
    norm = float(last["hypergradient_norm"][best])
    return Result(
        x=of_best(best_x),
        objective=float(start_objectives[best]),
        final_x=of_best(final_x),
        final_objective=float(last["objective"][best]),
        hypergradient_norm=norm,
        converged=norm < tolerance,
        status=Status(int(max(statuses.max(initial=0), last["status"][best]))),
        best_start=best,
        start_x=jax.tree.map(np.asarray, best_x),
        start_objectives=start_objectives,
        history=history,
        steps=done,
        interrupted=interrupted,
        compile_seconds=compile_seconds,
        run_seconds=run_seconds,
    )


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


def _select(condition, if_true: PyTree, if_false: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)


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
