"""Levels, bins and transition laws from data."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from sobirl.estimation.levels import as_space


def where(i):
    return f"row {i}"


def test_levels_read_what_files_write():
    space = as_space("states", 3)
    for column in (np.array([0, 2, 1]), np.array([0.0, 2.0, 1.0]), np.array(["0", "2", "1.0"])):
        np.testing.assert_array_equal(space.codes("s", column, where), [0, 2, 1])
    named = as_space("actions", ["keep", "replace"])
    np.testing.assert_array_equal(named.codes("a", np.array(["replace", "keep"]), where), [1, 0])
    np.testing.assert_array_equal(named.codes("a", np.array([1.0, 0.0]), where), [1, 0])
    np.testing.assert_array_equal(
        as_space("s", [5, 7.5]).codes("s", np.array([7.5, 5]), where), [1, 0]
    )


def test_bins():
    bins = sb.Bins([0, 10, 20, 40])
    np.testing.assert_array_equal(
        bins.codes("s", np.array([0.0, 9.9, 10.0, 40.0]), where), [0, 0, 1, 2]
    )
    np.testing.assert_array_equal(bins.values, [5, 15, 30])
    with pytest.raises(sb.InvalidInputError, match="row 1, column s: 41 is outside the bins"):
        bins.codes("s", np.array([3.0, 41.0]), where)
    quantiles = sb.Quantiles(4).resolve("s", np.arange(100.0), where)
    counts = np.bincount(quantiles.codes("s", np.arange(100.0), where))
    np.testing.assert_array_equal(counts, [25, 25, 25, 25])
    with pytest.raises(sb.InvalidInputError, match="too few different numbers for 4 quantiles"):
        sb.Quantiles(4).resolve("s", np.array([1.0, 2.0]), where)


def read(transitions, columns, states=3, **model):
    return sb.DiscreteChoice(
        states=states,
        actions=2,
        features={"a": {1: 1.0}},
        transitions=transitions,
        **model,
    ).read(columns)


@pytest.fixture(scope="module")
def columns():
    rng = np.random.default_rng(0)
    law = rng.dirichlet(np.ones(3), size=(2, 3, 2))  # by type
    kind = np.repeat([0, 1], 30)
    action = rng.integers(0, 2, (60, 40))
    state = np.zeros((60, 40), int)
    for t in range(1, 40):
        chances = law[kind, state[:, t - 1], action[:, t - 1]].cumsum(axis=-1)
        state[:, t] = (rng.random((60, 1)) > chances).sum(axis=-1)
    return {
        "unit": np.repeat(np.arange(60), 40),
        "period": np.tile(np.arange(40), 60),
        "state": state.ravel(),
        "action": action.ravel(),
        "kind": np.repeat(kind, 40),
    }


def counted(columns, own):
    state, action = (columns[c].reshape(60, 40)[own] for c in ("state", "action"))
    counts = np.zeros((3, 2, 3))
    np.add.at(counts, (state[:, :-1], action[:, :-1], state[:, 1:]), 1)
    return counts


def table(law):
    """P (S,A,S) of an operator."""
    return np.asarray(jax.vmap(law.expect, out_axes=-1)(jnp.eye(law.shape[0])))


def test_frequencies(columns):
    counts = counted(columns, slice(None))
    data = read(sb.Frequencies(), columns)
    shares = counts / counts.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(table(data.law(0)), shares, rtol=1e-12)
    pooled = counts.sum(axis=1) / counts.sum(axis=(1, 2))[:, None]
    data = read(sb.Frequencies(by_action=False), columns)
    np.testing.assert_allclose(table(data.law(0)), pooled[:, None].repeat(2, axis=1), rtol=1e-12)


def test_frequencies_by_type(columns):
    data = read(sb.Frequencies(by_type=True), columns, types={"kind": 2})
    for kind in range(2):
        counts = counted(columns, slice(30 * kind, 30 * kind + 30))
        shares = counts / counts.sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(table(data.law(kind)), shares, rtol=1e-12)


@pytest.mark.parametrize("toward", ["action", "state", "uniform"])
def test_smoothing(columns, toward):
    counts = counted(columns, slice(None))
    sums = {
        "action": counts.sum(axis=0, keepdims=True),
        "state": counts.sum(axis=1, keepdims=True),
        "uniform": np.ones((1, 1, 3)),
    }[toward]
    expected = counts + 5 * sums / sums.sum(axis=-1, keepdims=True)
    data = read(sb.Frequencies(smoothing=5, toward=toward), columns)
    expected /= expected.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(table(data.law(0)), expected, rtol=1e-12)


def test_increments_may_be_a_column_of_their_own(columns):
    used = np.where(columns["period"] > 0, columns["unit"] % 3, np.nan)
    data = read(sb.Increments(3, reset=[1], column="used"), {**columns, "used": used})
    np.testing.assert_allclose(data.law.psi[0], np.full((1, 3), 1 / 3))
    law = table(data.law(0))
    np.testing.assert_allclose(law[1, 0], [0, 1 / 3, 2 / 3])
    np.testing.assert_allclose(law[2, 1], [1 / 3, 1 / 3, 1 / 3])


def test_increments_of_a_stock():
    """Sales come down from what an order has filled up."""
    sales = sb.Increments(
        3, moves={"small": 2, "large": 9}, down=True, probabilities=[0.5, 0.3, 0.2]
    )
    model = sb.DiscreteChoice(
        states={"stock": 5},
        actions=("none", "small", "large"),
        features={"order": {"small": -1.0, "large": -1.5}},
        transitions=sales,
    )
    law = table(model.known_agent().law(0))
    np.testing.assert_allclose(law[1, 0], [0.5, 0.5, 0, 0, 0])
    np.testing.assert_allclose(law[1, 1], [0, 0.2, 0.3, 0.5, 0])
    np.testing.assert_allclose(law[0, 2], [0, 0, 0.2, 0.3, 0.5])
    sample = model.simulate({"order": 0.3}, units=50, periods=30)
    fitted = dataclasses.replace(
        model, transitions=sb.Increments(3, moves={"small": 2, "large": 9}, down=True)
    )
    (chances,) = fitted.read(sample).law.psi
    np.testing.assert_allclose(chances, [[0.5, 0.3, 0.2]], atol=0.05)
    upward = dataclasses.replace(model, transitions=sb.Increments(3))
    with pytest.raises(sb.InvalidInputError, match=r"the increment .* is -"):
        upward.read(sample)
    for moves, message in (
        ({"small": 0.5}, r"moves\['small'\]: must be a whole number"),
        ({"huge": 1}, "moves: 'huge' is no action"),
    ):
        with pytest.raises(sb.InvalidInputError, match=message):
            dataclasses.replace(model, transitions=sb.Increments(3, moves=moves)).read(sample)


def test_columns_that_move_independently(columns):
    states = {"state": 3, "price": [1.0, 2.0]}
    price = 1.0 + (columns["unit"] + columns["period"] // 2) % 2
    data = read(
        {"state": sb.Frequencies(), "price": sb.Frequencies(by_action=False)},
        {**columns, "price": price},
        states=states,
    )
    counts = counted(columns, slice(None))
    own = counts / counts.sum(axis=-1, keepdims=True)
    level = (price - 1).astype(int).reshape(60, 40)
    moves = np.zeros((2, 2))
    np.add.at(moves, (level[:, :-1], level[:, 1:]), 1)
    moves /= moves.sum(axis=1, keepdims=True)
    expected = np.einsum("sat,pq->spatq", own, moves).reshape(6, 2, 6)
    np.testing.assert_allclose(table(data.law(0)), expected, rtol=1e-12)


def test_gaps_may_split(columns):
    keep = columns["period"] != 20
    shorter = {name: values[keep] for name, values in columns.items()}
    model = sb.DiscreteChoice(states=3, actions=2, features={"a": {1: 1.0}})
    data = model.read(shorter, gaps="split")
    assert (data.panel.next >= 0).sum() == 60 * 37
