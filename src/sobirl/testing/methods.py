"""What every method keeps to, whatever it computes: one suite for ours and for yours."""

import tempfile
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Key, PyTree

from sobirl.bilevel import BilevelProblem, loop
from sobirl.bilevel.checkpoint import Checkpoint
from sobirl.core.errors import InvalidInputError
from sobirl.core.protocols import Method
from sobirl.core.status import Status
from sobirl.hypergrad import Needs, as_method
from sobirl.hypergrad.checks import check_answer, check_estimate
from sobirl.testing.bits import same_bits
from sobirl.testing.conformance import ConformanceError, compiled, shown
from sobirl.testing.small_problems import in_contexts, strange, suitable

_STEPS, _HALFWAY = 4, 2
# Starts side by side that differ in one thing each.
_FIRST, _OTHER_SEED, _OTHER_NUMBERS = range(3)


def check_method(
    method: Method | type | str,
    problem: BilevelProblem | None = None,
    x: PyTree | None = None,
    *,
    seed: int = 0,
) -> None:
    """Check that a method keeps the contract that `minimize` and the command line rely on.

    The hyper-gradient is like x; the state keeps its structure, shapes and dtypes from step to
    step; the metrics are finite numbers, among them `objective` and `status`. It starts and steps
    inside `jit` and under `vmap` over starts, whose seeds and numbers may differ, as one compiled
    program for all steps; in one context and in several. The same seed gives the same bits, and so
    does a run that goes on from a checkpoint. Problems that it cannot work with are refused with an
    `InvalidInputError`. If its `objective_is_exact`, objective and hyper-gradient agree with φ and
    its finite differences. A method with `needs`, see `sobirl.hypergrad.Needs`, is held to them as
    well: if it does not sample, seeds make no difference.

    Call `jax.config.update("jax_enable_x64", True)` first.

    Args:
        method: the method, its class or its name in `METHODS`.
        problem: what to run it on, without contexts; by default one of three states that offers
            what the method needs.
        x: where to start; goes with `problem`.
        seed: of the runs.

    Raises:
        ConformanceError: a part of the contract is not kept.
        InvalidInputError: `method` is none, or only one of problem and x is given.
    """
    method = as_method(method)
    if (problem is None) != (x is None):
        raise InvalidInputError("problem and x: give both or none")
    needs = getattr(method, "needs", None)
    if problem is None:
        problem, x = suitable(needs or Needs())
    x, key = jax.tree.map(jnp.asarray, x), jax.random.key(seed)

    _check_answers(method, problem, x, key)
    _check_refusals(method, needs, problem, x, key)
    _check_runs(method, needs, problem, x, key)
    if getattr(method, "objective_is_exact", False):
        _check_exact(method, in_contexts(problem), x, key)


def _check_answers(method: Method, problem: BilevelProblem, x: PyTree, key: Key[Array, ""]) -> None:
    """Shapes, in one context and in two, and a start that is traced."""
    with _Blame(method, ""):
        check_estimate(method, problem, x, key)
    with _Blame(method, "init must work inside jit and under vmap: "):
        keys = jax.random.split(key, 2)
        jax.eval_shape(jax.vmap(lambda key: method.init(problem, x, key)), keys)
        jax.eval_shape(lambda x: method.init(problem, x, key), x)
    with _Blame(method, "on a problem with contexts: "):
        contexts = in_contexts(problem)
        state = jax.eval_shape(lambda x: method.init(contexts, x, key), x)
        check_answer(method, contexts, x, state, key)


def _check_refusals(
    method: Method, needs: Needs | None, problem: BilevelProblem, x: PyTree, key: Key[Array, ""]
) -> None:
    """What it cannot work with, it refuses in words."""
    for what, its_problem in strange(problem).items():
        try:
            check_estimate(method, its_problem, x, key)
        except InvalidInputError:
            continue
        except Exception as error:
            raise _error(
                method,
                f"must work with {what}, or refuse it in `init` with an InvalidInputError; it "
                f"raised {shown(error)}",
            ) from error
        if needs is not None and "temperature" in what and "temperature" not in needs.x_enters:
            raise _error(method, f"its `needs` exclude {what}, but `init` does not refuse it")


def _check_runs(
    method: Method, needs: Needs | None, problem: BilevelProblem, x: PyTree, key: Key[Array, ""]
) -> None:
    """Steps of three starts: at once, once more, and with a checkpoint in between."""
    with _Blame(method, "outer steps under vmap over starts failed: "):
        start, advance, traces = _starts(method, problem, x, key)
        whole, records = advance(start, _STEPS)
        again, _ = advance(start, _STEPS)
        halfway, rows = advance(start, _HALFWAY)
    with _Blame(method, "a checkpoint of its state cannot be written and read: "):
        restored = _through_a_file(start, halfway, rows)
    resumed, _ = advance(restored, _STEPS - _HALFWAY)

    for name, record in records.items():
        own = np.asarray(record)[[_FIRST, _OTHER_SEED]]
        if not np.isfinite(own).all():
            raise _error(method, f"the metric `{name}` is not finite: {own.tolist()}")
        if name == "status" and not np.isin(own, list(Status)).all():
            raise _error(method, f"`status` must be a sobirl.Status, got {own.tolist()}")
    if len(traces) != 1:
        raise _error(method, f"all steps must be one program, it was traced {len(traces)} times")
    if not same_bits(again, whole):
        raise _error(method, "the same seed must give the same bits, but a second run differs")
    if not same_bits(resumed, whole):
        raise _error(
            method,
            "a run resumed from a checkpoint must equal an uninterrupted one bit for bit: "
            "everything that the next estimate depends on must be in the state",
        )
    first, other = (np.asarray(ravel_pytree(_at(whole.x, i))[0]) for i in (_FIRST, _OTHER_SEED))
    if needs is not None and np.array_equal(first, other) == needs.samples:
        raise _error(
            method,
            "its `needs` say that it samples, but another seed gives the same estimate"
            if needs.samples
            else "its `needs` say that it does not sample, but another seed gives another estimate",
        )


def _check_exact(method: Method, problem: BilevelProblem, x: PyTree, key: Key[Array, ""]) -> None:
    """Objective and hyper-gradient against φ itself."""
    point, unravel = ravel_pytree(x)
    state = method.init(problem, x, key)
    hypergradient, _, metrics = compiled(lambda x, state: method.estimate(problem, x, state, key))(
        x, state
    )
    step = float(jnp.finfo(point.dtype).eps) ** (1 / 3)
    steps = step * jnp.eye(point.size, dtype=point.dtype)
    points = jnp.concatenate([point[None], point + steps, point - steps])
    values = np.asarray(
        compiled(jax.vmap(lambda point: problem.value(unravel(point), throw=False)))(points)
    )
    differences = (values[1 : point.size + 1] - values[point.size + 1 :]) / (2 * step)
    # The error of central differences with this step is of the order of its square.
    near = 1e3 * step**2
    size = max(np.abs(differences).max(), abs(values[0]), 1.0)
    if abs(float(metrics["objective"]) - values[0]) > near * size:
        raise _error(
            method,
            f"`objective_is_exact`, but its objective is {float(metrics['objective']):.10g} where "
            f"φ is {values[0]:.10g}",
        )
    gradient = np.asarray(ravel_pytree(hypergradient)[0])
    if not np.abs(gradient - differences).max() <= near * size:
        raise _error(
            method,
            f"`objective_is_exact`, but its hyper-gradient {gradient.tolist()} is not that of "
            f"finite differences of φ, {differences.tolist()}",
        )


def _starts(method: Method, problem: BilevelProblem, x: PyTree, key: Key[Array, ""]):
    """The outer loop of all starts as (state before it, advance(state, steps), its traces)."""
    traces, settings = [], loop.StartSettings(None, None)
    numbers, rest = eqx.partition(method, _is_number)
    numbers = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf, 0.5 * leaf]), numbers)
    keys = jnp.stack([key, jax.random.fold_in(key, 1), key])
    optimizer = optax.sgd(0.1)

    def begin(numbers, x, key):
        return loop.init(problem, eqx.combine(numbers, rest), optimizer, settings, x, key)

    def advance(numbers, state, count):
        traces.append(None)
        own = eqx.combine(numbers, rest)
        return loop.run_chunk(
            problem,
            own,
            settings,
            state,
            running=None,
            count=count,
            projection=None,
            optimizer=optimizer,
            size=_STEPS,
        )

    program = compiled(jax.vmap(advance, in_axes=(0, 0, None)))
    state = compiled(jax.vmap(begin, in_axes=(0, None, 0)))(numbers, x, keys)
    return state, lambda state, count: program(numbers, state, jnp.int32(count)), traces


def _through_a_file(start: loop.RunState, halfway: loop.RunState, rows: dict) -> loop.RunState:
    """The state after it was written and read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.npz"
        recorder = Checkpoint(path)
        recorder.record(halfway, {n: np.asarray(row).T[:_HALFWAY] for n, row in rows.items()}, 0.0)
        recorder.save()
        kept = Checkpoint(path).restore(like=start)
        assert kept is not None
        return kept[0]


def _is_number(leaf: Any) -> bool:
    """Whether a leaf of a method may differ from start to start."""
    return isinstance(leaf, float) or eqx.is_inexact_array_like(leaf)


def _at(tree: PyTree, index: int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index], tree)


class _Blame:
    """Whatever is raised within is the method's fault."""

    def __init__(self, method: Method, where: str):
        self.method, self.where = method, where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, traceback) -> None:
        if isinstance(error, InvalidInputError):
            raise _error(self.method, f"{self.where}{error}") from error
        if isinstance(error, Exception):
            raise _error(self.method, f"{self.where}it raised {shown(error)}") from error


def _error(method: Method, message: str) -> ConformanceError:
    return ConformanceError(f"{type(method).__name__}: {message}")
