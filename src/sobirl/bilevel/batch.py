"""Several descents in one program: `minimize` of like problems, batched by `vmap`."""

import dataclasses
import functools
import math
import time
import warnings
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sobirl.bilevel.driver import drive
from sobirl.bilevel.loop import OptimizerOf, RunState, init, run_chunk
from sobirl.bilevel.minimization import minimize
from sobirl.bilevel.problem import BilevelProblem
from sobirl.bilevel.recorder import Recorder, Records
from sobirl.bilevel.result import Result, make_result
from sobirl.bilevel.starts import first_finite, start_settings, starting_points
from sobirl.core.errors import InvalidInputError
from sobirl.core.hoisting import hoisting_jit
from sobirl.core.protocols import Method
from sobirl.core.status import Status
from sobirl.hypergrad.checks import check_start
from sobirl.hypergrad.methods import advice

_LARGEST_CHUNK = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Descent:
    """A call of `minimize` from one start.

    Attributes:
        problem, x0, method, num_steps, key, tolerance: its arguments.
        optimizer: a function from a step size to an optimizer, like `optax.adam`: the same object
            for all descents that are to share a program.
        learning_rate: the step size.
    """

    problem: BilevelProblem
    x0: Any
    method: Method
    optimizer: OptimizerOf
    learning_rate: float
    num_steps: int
    key: int
    tolerance: float

    def minimize(self, progress: bool | None = None, recorder: Recorder | None = None) -> Result:
        """Carry it out alone; see `minimize`."""
        return minimize(
            self.problem,
            self.x0,
            method=self.method,
            optimizer=self.optimizer,
            learning_rates=jnp.array([self.learning_rate]),
            num_steps=self.num_steps,
            key=self.key,
            tolerance=self.tolerance,
            progress=progress,
            recorder=recorder,
        )


class UnlikeError(InvalidInputError):
    """Descents cannot share a program; each can be carried out alone."""


def minimize_batch(
    descents: Sequence[Descent], recorders: Sequence[Recorder | None] | None = None
) -> list[Result]:
    """Carry out several descents in one program.

    Problems, methods and first x may differ in the numbers of their arrays, but in nothing else: a
    problem whose functions are methods of an `eqx.Module` has its arrays in the pytree, one that is
    made of closures is only like itself. What is found agrees with `Descent.minimize` to rounding.

    Args:
        descents: at least one, with the same number of steps.
        recorders: one a descent; each gets what it would have of its descent alone, and a
            checkpoint can be taken up by that. They must be new.

    Raises:
        UnlikeError: they differ in more than numbers.
        InvalidInputError: as `minimize`.
        KeyboardInterrupt: as `minimize` with recorders.
    """
    optimizer, num_steps = descents[0].optimizer, descents[0].num_steps
    if any(d.optimizer is not optimizer or d.num_steps != num_steps for d in descents):
        raise UnlikeError("descents: must have the same optimizer and the same num_steps")
    chunk_size = min(-(-num_steps // 25), _LARGEST_CHUNK)  # as `minimize` chooses it
    clock = time.perf_counter()
    arrays, static = _stacked([_beginning(descent) for descent in descents])
    *parts, state = arrays

    def advance(state: RunState, count: int) -> tuple[RunState, Records]:
        state, records = _run(parts, static, state, jnp.int32(count), optimizer, chunk_size)
        return state, {name: np.asarray(column)[:count].copy() for name, column in records.items()}

    _, no_rows = advance(state, 0)
    compile_seconds = time.perf_counter() - clock
    each = None if recorders is None else _Each(recorders)
    end = drive(
        advance,
        state,
        columns=no_rows.keys(),
        num_steps=num_steps,
        chunk_size=chunk_size,
        recorder=each,
        progress=False,
        describe=lambda rows: "",
    )
    after, last = advance(end.state, 1)
    results = []
    for number, descent in enumerate(descents):
        result = make_result(
            _at(end.state.x, number),
            _at(after, number),
            {n: np.concatenate([end.records[n], last[n]])[:, number] for n in last},
            descent.tolerance,
            advise=functools.partial(advice, descent.method),
            interrupted=end.interrupted,
            compile_seconds=compile_seconds,
            run_seconds=end.seconds,
        )
        if result.status is not Status.CONVERGED:
            warnings.warn(f"minimize: {result.advice}", RuntimeWarning, stacklevel=2)
        results.append(result)
    return results


class _Each:
    """A recorder that gives every descent's recorder its own."""

    def __init__(self, recorders: Sequence[Recorder | None]):
        self._recorders = [(n, r) for n, r in enumerate(recorders) if r is not None]
        # What is left to each alone is left to all together.
        self.time_limit = sum(getattr(recorder, "time_limit", math.inf) for recorder in recorders)

    def restore(self, like: PyTree) -> None:
        """Begin; there is nothing to go on from."""
        for number, recorder in self._recorders:
            if recorder.restore(_at(like, number)) is not None:
                raise UnlikeError("recorders: one has a descent that has begun")

    def record(self, state: PyTree, rows: Records, seconds: float) -> None:
        """Hand on each one's part."""
        for number, recorder in self._recorders:
            own = {name: column[:, number] for name, column in rows.items()}
            recorder.record(_at(state, number), own, seconds)

    def save(self) -> None:
        """Save all."""
        for _, recorder in self._recorders:
            recorder.save()


def _beginning(descent: Descent) -> PyTree:
    """Problem, method, settings and first state of one descent, as `minimize` makes them."""
    start_key, run_key = jax.random.split(jax.random.key(descent.key))
    xs = starting_points(descent.x0, 1, start_key)
    check_start(descent.method, descent.problem, first_finite(xs, 1), run_key)
    settings = start_settings(jnp.array([descent.learning_rate]), None, 1, descent.num_steps)
    x, setting = jax.tree.map(lambda leaf: leaf[0], (xs, settings))
    state = _init(descent.problem, descent.method, descent.optimizer, setting, x, run_key)
    return descent.problem, descent.method, setting, state


_init = hoisting_jit(init)


def _stacked(trees: Sequence[PyTree]) -> tuple[PyTree, PyTree]:
    """The arrays of trees with a leading axis, and what is no array, which must be the same.

    Raises:
        UnlikeError: it is not, or shapes differ.
    """
    parts = [eqx.partition(tree, _is_array) for tree in trees]
    static, shapes = parts[0][1], [_shapes(arrays) for arrays, _ in parts]
    if not all(eqx.tree_equal(static, other) for _, other in parts) or any(
        shape != shapes[0] for shape in shapes
    ):
        raise UnlikeError("descents: differ in more than the numbers of their arrays")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(a for a, _ in parts)), static


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray))


def _shapes(arrays: PyTree) -> list:
    return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(arrays)]


@hoisting_jit
def _run(parts, static, states, count, optimizer, size: int):
    """`run_chunk` of every descent side by side."""

    def run(parts, state):
        problem, method, settings, _ = eqx.combine((*parts, None), static)
        return run_chunk(problem, method, settings, state, None, count, None, optimizer, size)

    states, records = jax.vmap(run)(parts, states)
    return states, jax.tree.map(lambda rows: jnp.moveaxis(rows, 0, 1), records)


def _at(tree: PyTree, number: int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[number], tree)
