"""The outer loop as pure functions: a run state, one step, and a chunk of steps."""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, Key, PyTree

from sobirl.bilevel.continuation import GeometricContinuation
from sobirl.bilevel.problem import BilevelProblem
from sobirl.core.batching import default_platform
from sobirl.core.protocols import Method
from sobirl.core.status import Status

Optimizer = optax.GradientTransformation
OptimizerOf = Callable[[Float[Array, ""]], Optimizer]


class RunState(eqx.Module):
    """Everything that the next step depends on."""

    x: PyTree
    optimizer_state: PyTree
    method_state: PyTree
    step: Int[Array, "*starts"]
    key: Key[Array, "*starts"]
    best_x: PyTree
    best_objective: Float[Array, "*starts"]


Projector = Callable[[PyTree], PyTree]


class Running(eqx.Module):
    """Which of several starts take steps.

    Attributes:
        order: the numbers of the starts; the first `count` run, where the program can tell.
        count: how many run.
    """

    order: Int[Array, "running"]
    count: Int[Array, ""]


class StartSettings(eqx.Module):
    """What may differ from start to start."""

    learning_rate: Float[Array, "*starts"] | None
    continuation: GeometricContinuation | None


def init(
    problem: BilevelProblem,
    method: Method,
    optimizer: Optimizer | OptimizerOf,
    settings: StartSettings,
    x: PyTree,
    key: Key[Array, "*starts"],
) -> RunState:
    """The state before the first step: of one start, or with a leading axis everywhere."""
    init_one = functools.partial(_init_one, problem, method, optimizer)
    return (jax.vmap(init_one) if key.ndim else init_one)(settings, x, key)


def _init_one(problem, method, optimizer, settings, x, key) -> RunState:
    key, method_key = jax.random.split(key)
    state = RunState(
        x=x,
        optimizer_state=optimizer_of(optimizer, settings).init(x),
        method_state=method.init(problem, x, method_key),
        step=jnp.zeros((), jnp.int32),
        key=key,
        best_x=x,
        best_objective=jnp.full((), jnp.inf),
    )
    # No weak types: a state read back from a file has none, and must fit the same program.
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), state)


def step(
    problem: BilevelProblem,
    method: Method,
    optimizer: Optimizer | OptimizerOf,
    projection: Projector | None,
    state: RunState,
    settings: StartSettings,
) -> tuple[RunState, dict[str, Array]]:
    """One outer step of one start, and its record: norms and metrics at the x before the step."""
    at, own_temperature, record = problem, True, {}
    if settings.continuation is not None:
        factor = settings.continuation(state.step)
        at, own_temperature = problem.at_temperature(factor), factor == 1
        record["temperature_factor"] = factor
    next_key, method_key = jax.random.split(state.key)
    hypergradient, method_state, metrics = method.estimate(
        at, state.x, state.method_state, method_key
    )
    norm = optax.tree.norm(hypergradient)
    updates, optimizer_state = optimizer_of(optimizer, settings).update(
        hypergradient, state.optimizer_state, state.x
    )
    # A start whose hyper-gradient is not finite stays where it is, and its status says so.
    finite = jnp.isfinite(norm)
    x = optax.apply_updates(state.x, updates)
    if projection is not None:
        x = projection(x)
        record["projected_gradient_norm"] = projected_norm(projection, state.x, hypergradient)
    moved, stayed = (x, optimizer_state), (state.x, state.optimizer_state)
    x, optimizer_state = _select(finite, moved, stayed)
    status = jnp.where(finite, metrics["status"], int(Status.NOT_FINITE))
    objective = metrics["objective"]
    counts = jnp.isfinite(objective) & own_temperature
    # An objective that is only an estimate picks no winner: then the last x stands.
    exact = getattr(method, "objective_is_exact", False)
    better = counts & (objective < state.best_objective) if exact else counts
    nothing_yet = jnp.isinf(state.best_objective)
    next_state = RunState(
        x=x,
        optimizer_state=optimizer_state,
        method_state=method_state,
        step=state.step + 1,
        key=next_key,
        best_x=_select(better | nothing_yet, state.x, state.best_x),
        best_objective=jnp.where(better, objective, state.best_objective),
    )
    return next_state, {"hypergradient_norm": norm, **metrics, "status": status, **record}


def projected_norm(projection: Projector, x: PyTree, gradient: PyTree) -> Float[Array, ""]:
    """‖x - P(x - ∇φ)‖₂: zero exactly where x is stationary within the set."""
    reached = projection(jax.tree.map(jnp.subtract, x, gradient))
    return optax.tree.norm(jax.tree.map(jnp.subtract, x, reached))


def run_chunk(
    problem: BilevelProblem,
    method: Method,
    settings: StartSettings,
    state: RunState,
    running: Running | None,
    count: Int[Array, ""],
    projection: Projector | None,
    optimizer: Optimizer | OptimizerOf,
    size: int,
    devices: Mesh | None = None,
) -> tuple[RunState, dict[str, Array]]:
    """`count` steps, at most `size`, of the running starts; the records have `size` rows.

    The number of steps is an argument, so that one compiled program serves every chunk. Records of
    starts that do not run are NaN, or 0 in columns of whole numbers. With devices each has its
    share of the starts, all of which run.
    """
    advance = functools.partial(step, problem, method, optimizer, projection)

    def run(state, settings):
        record = jax.eval_shape(advance, state, settings)[1]
        records = jax.tree.map(lambda r: _nothing((size, *r.shape), r.dtype), record)

        def body(i, carry):
            state, records = carry
            state, record = advance(state, settings)
            return state, jax.tree.map(lambda rows, row: rows.at[i].set(row), records, record)

        return jax.lax.fori_loop(0, count, body, (state, records))

    if running is None:
        return run(state, settings)
    each = _one_by_one if default_platform() == "cpu" else _side_by_side
    if devices is not None:
        each = functools.partial(_spread, each, devices)
    state, records = each(run, state, settings, running)
    return state, jax.tree.map(lambda rows: jnp.moveaxis(rows, 0, 1), records)


def _one_by_one(run, states, settings, running):
    """One start after the other, as many as run: nothing is gained by a batch on a CPU.

    The number of starts is no part of the program, which compiles faster without a batch axis.
    """
    rows = jax.eval_shape(run, *_at((states, settings), 0))[1]
    records = jax.tree.map(lambda r: _nothing((len(states.step), *r.shape), r.dtype), rows)

    def body(i, carry):
        start = running.order[i]
        end = run(*_at((carry[0], settings), start))
        return jax.tree.map(lambda leaf, new: leaf.at[start].set(new), carry, end)

    return jax.lax.fori_loop(0, running.count, body, (states, records))


def _side_by_side(run, states, settings, running):
    """All running starts in one batch: one program for each number of them."""
    order = running.order
    ends, rows = jax.vmap(run)(*_at((states, settings), order))
    states = jax.tree.map(lambda leaf, new: leaf.at[order].set(new), states, ends)
    number = len(states.step)

    def spread(row):
        return _nothing((number, *row.shape[1:]), row.dtype).at[order].set(row)

    return states, jax.tree.map(spread, rows)


def _spread(each, devices: Mesh, run, states, settings, running):
    """Every device runs its own starts; they have nothing to tell each other."""
    starts = PartitionSpec(devices.axis_names[0])

    def share(states, settings, count):
        own = jnp.arange(len(states.step), dtype=count.dtype)
        return each(run, states, settings, Running(own, jnp.minimum(count, len(own))))

    in_specs = (starts, starts, PartitionSpec())
    spread = jax.shard_map(
        share, mesh=devices, in_specs=in_specs, out_specs=starts, check_vma=False
    )
    return spread(states, settings, running.count)


def _at(tree: PyTree, start) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[start], tree)


def _nothing(shape, dtype) -> Array:
    """What the records of no step are."""
    return jnp.full(shape, jnp.nan if jnp.issubdtype(dtype, jnp.floating) else 0, dtype)


def optimizer_of(optimizer: Optimizer | OptimizerOf, settings: StartSettings) -> Optimizer:
    """The optimizer of one start."""
    if not callable(optimizer):
        return optimizer
    assert settings.learning_rate is not None  # `minimize` takes both or neither
    return optimizer(settings.learning_rate)


def _select(condition, if_true: PyTree, if_false: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)
