"""Whether a method gives what the outer loop works with, seen without computing anything."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.core.protocols import Method, Problem

_CONTRACT = (
    "estimate must return (hypergradient, state, metrics): the hypergradient like x, the state "
    "like the one before, and a dictionary of numbers with `objective` and `status`"
)


def check_start(method: Method, problem: Problem, x: PyTree, key: Key[Array, ""]) -> None:
    """`check_estimate`, or for our own methods the start alone.

    Tracing an estimate takes some tenths of a second, and the tests have seen what ours give.

    Raises:
        InvalidInputError: as `check_estimate`.
    """
    ours = type(method).__module__.startswith("sobirl.")
    if ours:
        method.init(problem, x, key)
    else:
        check_estimate(method, problem, x, key)


def check_estimate(method: Method, problem: Problem, x: PyTree, key: Key[Array, ""]) -> None:
    """Start a method on a problem, and look at the shapes of its first estimate.

    Raises:
        InvalidInputError: the method refuses the problem, or its estimate is not what
            `core.protocols.Method` asks for: with what it is instead.
    """
    check_answer(method, problem, x, method.init(problem, x, key), key)


def check_answer(
    method: Method, problem: Problem, x: PyTree, state: PyTree, key: Key[Array, ""]
) -> None:
    """Look at the shapes of an estimate from a state, of which the shapes are enough.

    Raises:
        InvalidInputError: as `check_estimate`.
    """
    name = type(method).__name__
    for leaf in jax.tree.leaves(state):
        if not hasattr(leaf, "dtype"):
            raise InvalidInputError(
                f"method: {name}.init must return a state of arrays, got {leaf!r} in it"
            )
    answer = jax.eval_shape(
        lambda x, state, key: method.estimate(problem, x, state, key), x, state, key
    )
    fault = _fault(x, state, answer)
    if fault is not None:
        raise InvalidInputError(f"method: {name}.{_CONTRACT}; got {fault}")


def _fault(x: PyTree, state: PyTree, answer: Any) -> str | None:
    """What is wrong with an answer, if anything."""
    if not isinstance(answer, tuple):
        return f"{_described(answer)} alone"
    if len(answer) != 3:
        return f"{len(answer)} things"
    hypergradient, after, metrics = answer
    if _kind(hypergradient) != _kind(x):
        return f"a hypergradient of {_described(hypergradient)} for x of {_described(x)}"
    if _kind(after) != _kind(state):
        return f"a state of {_described(after)} after one of {_described(state)}"
    if not isinstance(metrics, dict):
        return f"metrics that are {_described(metrics)}"
    missing = [f"`{name}`" for name in ("objective", "status") if name not in metrics]
    if missing:
        return f"metrics without {' and '.join(missing)}"
    for name, metric in metrics.items():
        if getattr(metric, "shape", None) != ():
            return f"a metric `{name}` of {_described(metric)}"
    if not jnp.issubdtype(metrics["status"].dtype, jnp.integer):
        return f"a `status` of {_described(metrics['status'])}"
    return None


def _kind(tree: PyTree) -> tuple:
    """Structure, shapes and dtypes."""
    return jax.tree.structure(tree), [(jnp.shape(a), a.dtype) for a in jax.tree.leaves(tree)]


def _described(tree: PyTree) -> str:
    """The shapes and dtypes of a tree in a few words."""
    leaves = jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", tree)
    text = str(leaves).replace("'", "")
    return text if len(text) <= 100 else f"{text[:97]}..."
