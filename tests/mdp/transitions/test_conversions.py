"""Lists of successors from other forms."""

import contextlib

import numpy as np
import pytest
import scipy.sparse

from mdps import ACTIONS, STATES, random_rows, table
from sobirl.core import InvalidInputError
from sobirl.mdp import SuccessorList
from sobirl.mdp.transitions import conversions


@pytest.fixture
def dense():
    """P with zeros: states have one to three successors."""
    rng = np.random.default_rng(0)
    probabilities = random_rows(rng) * (rng.random((STATES, ACTIONS, STATES)) < 0.4)
    probabilities[:, :, 2] += 1e-3
    return probabilities / probabilities.sum(axis=-1, keepdims=True)


def scipy_matrices(dense):
    """Per action, in every format; an entry is given in two halves, another is an explicit 0."""
    formats = (scipy.sparse.csr_array, scipy.sparse.csc_matrix, scipy.sparse.coo_array)
    matrices = [form(dense[:, action]) for action, form in enumerate(formats)]
    entries = matrices[2].tocoo()
    data = np.concatenate([entries.data / 2, entries.data / 2, [0.0]])
    rows, columns = ([*entries.coords[axis], *entries.coords[axis], 0] for axis in (0, 1))
    matrices[2] = scipy.sparse.coo_array((data, (rows, columns)), shape=entries.shape)
    return matrices


def test_the_same_law_from_every_form(dense):
    def successors(state, action):
        """As a dictionary, or as pairs with a state twice and another with probability 0."""
        row = dense[state, action]
        if action == 0:
            return {int(s): float(row[s]) for s in np.flatnonzero(row)}
        return [(s, row[s] / 2) for s in range(STATES)] + [(s, row[s] / 2) for s in range(STATES)]

    stacked = scipy.sparse.csr_array(dense.reshape(-1, STATES))
    for law in (
        SuccessorList.from_dense(dense),
        SuccessorList.from_scipy(scipy_matrices(dense)),
        SuccessorList.from_scipy(stacked),
        SuccessorList.from_function(successors, STATES, ACTIONS),
    ):
        np.testing.assert_allclose(table(law), dense, atol=1e-15)
        assert law.num_entries == STATES * ACTIONS * np.count_nonzero(dense, axis=-1).max()


def test_unused_places_repeat_a_successor(dense):
    """They add no state to those that are possible."""
    law = SuccessorList.from_dense(dense)
    there = np.take_along_axis(dense, np.asarray(law.successors), axis=-1)
    assert (there > 0).all()


def test_what_is_given_is_left_as_it_was(dense):
    matrices = scipy_matrices(dense)
    before = matrices[2].data.copy()
    SuccessorList.from_scipy(matrices)
    np.testing.assert_array_equal(matrices[2].data, before)


def test_a_progress_bar_counts_the_states(monkeypatch):
    shown = []

    @contextlib.contextmanager
    def bar(wanted, label, total):
        shown.append((wanted, label, total))
        yield lambda done, state: shown.append(done)

    monkeypatch.setattr(conversions, "progress_bar", bar)
    SuccessorList.from_function(lambda s, a: {s: 1.0}, 3, 2, progress=True)
    assert shown == [(True, "states", 3), 1, 2, 3]


STAY = scipy.sparse.eye_array(3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SuccessorList.from_dense(np.ones((2, 2))), r"probabilities: .*\(S, A, S\)"),
        (lambda: SuccessorList.from_dense(np.full((1, 1, 1), np.nan)), "must be finite, got nan"),
        (lambda: SuccessorList.from_dense(np.zeros((2, 1, 2))), "state 0, action 0 has no succ"),
        (lambda: SuccessorList.from_dense(np.full((2, 1, 2), 0.4)), "must sum to 1, got 0.8"),
        (lambda: SuccessorList.from_scipy(np.eye(3)), "matrices: expected a SciPy sparse"),
        (lambda: SuccessorList.from_scipy([]), "matrices: expected a SciPy sparse matrix"),
        (lambda: SuccessorList.from_scipy([STAY, np.eye(3)]), r"matrices\[1\]: .*got ndarray"),
        (
            lambda: SuccessorList.from_scipy([STAY, scipy.sparse.eye_array(2)]),
            r"matrices\[1\]: expected shape \(S, S\).*\(2, 2\)",
        ),
        (
            lambda: SuccessorList.from_scipy(scipy.sparse.csr_array((4, 3))),
            r"matrices: expected one of shape \(S·A, S\).*\(4, 3\)",
        ),
        (lambda: SuccessorList.from_scipy([2 * STAY]), "must sum to 1, got 2"),
        (lambda: SuccessorList.from_scipy([-STAY]), "must not be negative, got -1"),
        (
            lambda: SuccessorList.from_function(lambda s, a: {3: 1.0}, 3, 1),
            r"function\(0, 0\): states are 0 to 2, got 3",
        ),
        (
            lambda: SuccessorList.from_function(lambda s, a: {s: 0.5 + s / 2}, 3, 1),
            r"function\(0, 0\): probabilities must sum to 1, got 0.5",
        ),
        (
            lambda: SuccessorList.from_function(lambda s, a: {0: np.nan, 1: 1.0}, 3, 1),
            r"function\(0, 0\): probabilities must be finite and not negative, got nan",
        ),
        (
            lambda: SuccessorList.from_function(lambda s, a: {0.5: 1.0}, 3, 1),
            r"function\(0, 0\): must return {next state: probability}",
        ),
        (lambda: SuccessorList.from_function(lambda s, a: s, 3, 1), "got 0"),
        (lambda: SuccessorList.from_function(lambda s, a: {}, 3, 1), r"got \{\}"),
        (
            lambda: SuccessorList.from_function(lambda s, a: {s: 1.0}, 0, 1),
            "num_states: expected a positive integer, got 0",
        ),
    ],
)
def test_names_what_is_wrong(make, message):
    with pytest.raises(InvalidInputError, match=message):
        make()
