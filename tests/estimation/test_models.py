"""Types, products of columns, finite horizons, actions that are not always there."""

import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from machines import CHANCES, DISCOUNT, law_of


def z_scores(result, truth):
    return (result.values - np.concatenate([np.ravel(v) for v in truth.values()])) / (
        result.standard_errors
    )


def test_observed_types():
    """Two types with costs and increments of their own."""
    features = {
        "rc": {"replace": -1.0},
        "wear": {"keep": lambda s, heavy: -s},
        "heavy": {"keep": lambda s, heavy: -s * heavy},
    }
    model = {
        "states": {"s": 6},
        "types": {"heavy": [0, 1]},
        "actions": ("keep", "replace"),
        "features": features,
        "discount": DISCOUNT,
    }
    chances = np.array([CHANCES, [0.1, 0.4, 0.5]])
    truth = {"rc": 3.0, "wear": 0.5, "heavy": 0.4}
    laws = [sb.Increments(3, reset=["replace"], probabilities=own) for own in chances]
    panel = sb.DiscreteChoice(**model, transitions=laws).simulate(truth, units=240, periods=30)
    fitted = sb.DiscreteChoice(
        **model, transitions=sb.Increments(3, reset=["replace"], by_type=True)
    )
    result = fitted.fit(panel, cov_type="cluster")
    assert np.abs(z_scores(result, truth)).max() < 3.5
    found = result.transition_probabilities[0]
    np.testing.assert_allclose(found, chances, atol=0.04)
    outcome = result.counterfactual(rc=2.0)
    assert outcome.policy.value.shape == (2, 6, 2)
    np.testing.assert_allclose(outcome.distribution.value.sum(axis=-1), 1, rtol=1e-10)


@pytest.mark.slow  # a product of three laws
def test_columns_that_move_independently():
    """Wear that the agent resets, and a price that moves by itself."""
    model = {
        "states": {"s": 5, "price": [0.0, 1.0]},
        "actions": ("keep", "replace"),
        "features": {
            "rc": {"replace": -1.0},
            "wear": {"keep": lambda s, price: -s},
            "price": {"replace": lambda s, price: -price},
        },
        "discount": DISCOUNT,
    }
    truth = {"rc": 2.0, "wear": 0.7, "price": 1.5}
    known = {
        "s": sb.Increments(3, reset=["replace"], probabilities=CHANCES),
        "price": np.array([[[0.8, 0.2]], [[0.4, 0.6]]]),
    }
    sample = sb.DiscreteChoice(**model, transitions=known).simulate(truth, units=150, periods=30)
    first = {"s": sb.Increments(3, reset=["replace"]), "price": sb.Frequencies(by_action=False)}
    result = sb.DiscreteChoice(**model, transitions=first).fit(sample)
    assert np.abs(z_scores(result, truth)).max() < 3.5
    assert "5 x 2 = 10" in result.summary()


def test_known_laws_of_types():
    """A list of laws, one a type, in the three forms that a law has."""
    model = {
        "states": {"s": 6},
        "types": {"heavy": [0, 1]},
        "actions": ("keep", "replace"),
        "features": {"rc": {"replace": -1.0}, "wear": {"keep": lambda s, heavy: -s}},
        "discount": DISCOUNT,
    }
    chances = np.array([CHANCES, [0.1, 0.4, 0.5]])
    tables = np.stack([law_of(own) for own in chances])
    given = sb.DiscreteChoice(**model, transitions=tables)
    kept = sb.DiscreteChoice(
        **model,
        transitions=[sb.Increments(3, reset=["replace"], probabilities=own) for own in chances],
    )
    listed = sb.DiscreteChoice(
        **model, transitions=[sb.SuccessorList.from_dense(table) for table in tables]
    )
    values = np.arange(6.0)
    for kind in range(2):
        for one in (given, kept, listed):
            found = one.known_agent().law(kind).expect(jnp.asarray(values))
            np.testing.assert_allclose(found, tables[kind] @ values, rtol=1e-12)
    sample = given.simulate({"rc": 3.0, "wear": 0.5}, units=4, periods=20)
    assert given.read(sample).seen == (None,)
    other = sb.DiscreteChoice(**model, transitions=[*tables, tables[0]])
    with pytest.raises(sb.InvalidInputError, match="for every type, of which there are 2; got 3"):
        other.read(sample)
    never = sb.DiscreteChoice(**model, transitions=[tables[0], np.roll(tables[1], 1, axis=2)])
    with pytest.raises(sb.InvalidInputError, match="cannot follow state"):
        never.read(sample)
    unknown = sb.DiscreteChoice(**model, transitions=[sb.Increments(3, reset=["replace"])] * 2)
    with pytest.raises(sb.InvalidInputError, match="a list has laws that are given"):
        unknown.read(sample)


def backward(theta, horizon, size=6):
    """log π (T,S,2) by backward induction, in plain NumPy."""
    law, s, value, found = law_of(CHANCES, size), np.arange(size), np.zeros(size), []
    for t in reversed(range(horizon)):
        utility = np.stack([-theta[1] * s - 0.1 * t, np.full(size, -theta[0])], axis=1)
        q = utility + law @ value
        value = np.logaddexp(q[:, 0], q[:, 1])
        found.append(q - value[:, None])
    return np.stack(found[::-1])


@pytest.fixture(scope="module")
def finite():
    return sb.DiscreteChoice(
        states={"s": 6},
        actions=("keep", "replace"),
        features={
            "rc": {"replace": -1.0},
            "wear": {"keep": lambda s: -s},
            "age": {"keep": lambda s, period: -0.1 * period},
        },
        discount=1.0,
        horizon=10,
        transitions=sb.Increments(3, reset=["replace"], probabilities=CHANCES),
    )


def test_finite_horizon(finite):
    truth = {"rc": 3.0, "wear": 0.6, "age": 1.0}
    sample = finite.simulate(truth, units=400, periods=10, seed=3)
    result = finite.fit(sample)
    assert np.abs(z_scores(result, truth)).max() < 3.5
    table = backward((3.0, 0.6), 10)
    action = (sample["action"] == "replace").astype(int)
    direct = table[sample["period"], sample["s"], action].sum()
    at_truth = finite.fit(sample, fixed={"rc": 3.0, "wear": 0.6}, start={"age": 1.0})
    exact = at_truth.found.problem.value({name: np.asarray(v) for name, v in truth.items()})
    np.testing.assert_allclose(-exact, direct, rtol=1e-10)
    outcome = result.counterfactual(rc=2.0)
    assert outcome.policy.value.shape == (10, 6, 2)
    np.testing.assert_allclose(outcome.distribution.value.sum(axis=-1), 1, rtol=1e-12)
    with pytest.raises(sb.InvalidInputError, match="column period: 10 is outside the horizon"):
        finite.read({**sample, "period": sample["period"] + 1}, first_period=0)
    later = finite.read(sample, first_period=4)
    assert later.panel.period.min() == 4
    assert len(later.panel) == 400 * 6


def test_pseudo_likelihood_of_a_finite_horizon(finite):
    truth = {"rc": 3.0, "wear": 0.6, "age": 1.0}
    sample = finite.simulate(truth, units=400, periods=10, seed=4)
    npl, exact = (finite.fit(sample, estimator=name) for name in ("npl", "mle"))
    np.testing.assert_allclose(npl.values, exact.values, rtol=1e-4)


def test_actions_that_are_not_always_there():
    model = sb.DiscreteChoice(
        states={"s": 5},
        actions=("keep", "replace"),
        features={"rc": {"replace": -1.0}, "wear": {"keep": lambda s: -s}},
        discount=DISCOUNT,
        available={"replace": lambda s: s >= 1},
        transitions=sb.Increments(3, reset=["replace"], probabilities=CHANCES),
    )
    truth = {"rc": 2.0, "wear": 0.7}
    sample = model.simulate(truth, units=100, periods=30)
    assert not np.any((sample["s"] == 0) & (sample["action"] == "replace"))
    result = model.fit(sample)
    assert np.abs(z_scores(result, truth)).max() < 3.5
    np.testing.assert_allclose(result.counterfactual(rc=1.0).policy.value[0], [1, 0])
