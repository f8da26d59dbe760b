"""Lists of successors from laws in other forms: a full table, SciPy matrices, a Python function."""

from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from sobirl.core.checks import Numbers, as_float_array
from sobirl.core.errors import InvalidInputError
from sobirl.core.progress import progress_bar
from sobirl.mdp.transitions.operator import sums_to_one

Lists = tuple[Int[np.ndarray, "S A K"], Float[np.ndarray, "S A K"]]


def from_dense(probabilities: Numbers) -> Lists:
    """The entries of a table (S,A,S) that are not 0."""
    table = np.asarray(as_float_array("probabilities", probabilities))
    if table.ndim != 3 or table.shape[0] != table.shape[2] or 0 in table.shape:
        raise InvalidInputError(f"probabilities: expected shape (S, A, S), got {table.shape}")
    states, actions, _ = table.shape
    return _padded(scipy.sparse.csr_array(table.reshape(-1, states)), states, actions)


def from_scipy(matrices: Any) -> Lists:
    """From one sparse matrix (S,S) an action, or a single (S·A,S)."""
    if scipy.sparse.issparse(matrices):
        rows, states = matrices.shape
        if not states or rows % states:
            raise InvalidInputError(
                "matrices: expected one of shape (S·A, S), or a list of (S, S), got "
                f"{(rows, states)}"
            )
        return _padded(scipy.sparse.csr_array(matrices), states, rows // states)
    if isinstance(matrices, (str, bytes)) or not isinstance(matrices, Sequence) or not matrices:
        raise InvalidInputError(
            "matrices: expected a SciPy sparse matrix (S·A, S) or a list of (S, S), one an action, "
            f"got {type(matrices).__name__}"
        )
    for action, matrix in enumerate(matrices):
        if not scipy.sparse.issparse(matrix):
            raise InvalidInputError(
                f"matrices[{action}]: expected a SciPy sparse matrix, got {type(matrix).__name__}"
            )
        right = (matrices[0].shape[0],) * 2
        if matrix.shape != right or 0 in right:
            raise InvalidInputError(
                f"matrices[{action}]: expected shape (S, S), the same for all actions, got "
                f"{matrix.shape}"
            )
    states, actions = matrices[0].shape[0], len(matrices)
    stacked = scipy.sparse.vstack([scipy.sparse.csr_array(m) for m in matrices], format="csr")
    # From (action, state) to (state, action).
    order = np.arange(states * actions).reshape(actions, states).T.ravel()
    return _padded(scipy.sparse.csr_array(stacked[order]), states, actions)


def from_function(
    function: Callable[[int, int], Mapping[int, float] | Sequence[tuple[int, float]]],
    num_states: int,
    num_actions: int,
    progress: bool | None,
) -> Lists:
    """From a Python function (state, action) -> {next state: probability} or pairs of these."""
    for name, count in (("num_states", num_states), ("num_actions", num_actions)):
        if not isinstance(count, (int, np.integer)) or count < 1:
            raise InvalidInputError(f"{name}: expected a positive integer, got {count!r}")
    targets, chances, counts = array("q"), array("d"), array("q")
    with progress_bar(progress, "states", num_states) as show:
        for state in range(num_states):
            for action in range(num_actions):
                answer = function(state, action)
                try:
                    pairs = answer.items() if isinstance(answer, Mapping) else answer
                    there, probabilities = zip(*pairs, strict=True)
                    targets.extend(there)
                    chances.extend(probabilities)
                except (TypeError, ValueError, OverflowError):
                    raise InvalidInputError(
                        f"function({state}, {action}): must return {{next state: probability}} or "
                        f"pairs of these, got {answer!r}"
                    ) from None
                counts.append(len(there))
            show(state + 1, "")
    starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    matrix = scipy.sparse.csr_array(
        _checked(np.array(targets, np.int64), np.array(chances), starts, num_states, num_actions),
        shape=(num_states * num_actions, num_states),
    )
    return _padded(matrix, num_states, num_actions)


def _checked(
    targets: Int[np.ndarray, "N"],
    chances: Float[np.ndarray, "N"],
    starts: Int[np.ndarray, "M"],
    states: int,
    actions: int,
) -> tuple[Float[np.ndarray, "N"], Int[np.ndarray, "N"], Int[np.ndarray, "M"]]:
    """A matrix's parts, once every answer is known to be a distribution over the states."""
    sums = np.add.reduceat(chances, starts[:-1])
    pairs = np.repeat(np.arange(states * actions), np.diff(starts))
    for found, right, pair, requirement in (
        (targets, (targets >= 0) & (targets < states), pairs, f"states are 0 to {states - 1}"),
        (
            chances,
            (chances >= 0) & np.isfinite(chances),
            pairs,
            "probabilities must be finite and not negative",
        ),
        (sums, sums_to_one(sums), np.arange(len(sums)), "probabilities must sum to 1"),
    ):
        if not right.all():
            first = int(np.argmin(right))
            state, action = divmod(int(pair[first]), actions)
            raise InvalidInputError(
                f"function({state}, {action}): {requirement}, got {found[first]}"
            )
    return chances, targets, starts


def _padded(matrix: scipy.sparse.csr_array, states: int, actions: int) -> Lists:
    """The rows of a matrix (S·A,S), filled up with their first successor and probability 0."""
    matrix = matrix.astype(np.float64)  # a copy, which may be changed
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    counts = np.diff(matrix.indptr)
    if not counts.all():
        state, action = divmod(int(np.argmin(counts)), actions)
        raise InvalidInputError(
            f"transition: state {state}, action {action} has no successor; probabilities must sum "
            "to 1, also in terminal states, which may lead to themselves"
        )
    place = np.arange(counts.max())
    used = place < counts[:, None]
    index = matrix.indptr[:-1, None] + np.where(used, place, 0)
    successors = matrix.indices[index].astype(np.int32)
    probabilities = np.where(used, matrix.data[index], 0.0)
    shape = (states, actions, len(place))
    return successors.reshape(shape), probabilities.reshape(shape)
