"""What follows from an estimate, against plain NumPy, with errors by two witnesses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from machines import DISCOUNT, SIZE, law_of, log_policy
from sobirl.estimation.counterfactuals import stationary


def expected(theta, chances):
    """Policy, stationary distribution, shares and values, in plain NumPy."""
    policy, law, s = np.exp(log_policy(theta, chances)), law_of(chances), np.arange(SIZE)
    move = np.einsum("sa,sat->st", policy, law)
    values, vectors = np.linalg.eig(move.T)
    d = np.real(vectors[:, np.argmax(np.real(values))])
    d = d / d.sum()
    gain = policy[:, 0] * -theta[1] * s - policy[:, 1] * theta[0]
    gain = gain - np.sum(policy * np.log(policy), axis=1)
    value = np.linalg.solve(np.eye(SIZE) - DISCOUNT * move, gain)
    return {"policy": policy, "distribution": d, "shares": d @ policy, "value": value}


@pytest.fixture(scope="module")
def cheaper(result):
    return result.counterfactual(rc=lambda p: 0.7 * p["rc"])


def test_outcomes_and_errors(result, cheaper):
    chances, theta = result.transition_probabilities[0][0], result.values
    start = np.bincount(result.data.panel.state, minlength=SIZE) / len(result.data.panel)

    def both(theta):
        changed = expected(theta * [0.7, 1.0], chances)
        base = expected(theta, chances)
        return changed | {"change": start @ (changed["value"] - base["value"])}

    at, steps = both(theta), np.eye(2) * 1e-5
    for name in ("policy", "distribution", "shares", "value"):
        found = getattr(cheaper, name)
        np.testing.assert_allclose(found.value, at[name], rtol=1e-8, atol=1e-10)
        ends = [(both(theta + h)[name] - both(theta - h)[name]) / 2e-5 for h in steps]
        np.testing.assert_allclose(found.slopes, np.stack(ends, axis=-1), rtol=1e-5, atol=1e-7)
    welfare = cheaper.change.welfare
    np.testing.assert_allclose(welfare.value, at["change"], rtol=1e-8)
    ends = np.array([(both(theta + h)["change"] - both(theta - h)["change"]) / 2e-5 for h in steps])
    error = np.sqrt(ends @ result.covariance @ ends)
    np.testing.assert_allclose(welfare.standard_error, error, rtol=1e-5)
    assert float(cheaper.shares.value[1]) > float(cheaper.baseline.shares.value[1])
    np.testing.assert_allclose(cheaper.parameters["rc"], 0.7 * result["rc"])


def test_a_number_is_known_for_certain(result, cheaper):
    fixed = result.counterfactual(rc=0.7 * result["rc"])
    np.testing.assert_allclose(fixed.shares.value, cheaper.shares.value, rtol=1e-12)
    np.testing.assert_allclose(fixed.shares.slopes[:, 0], 0, atol=1e-12)
    np.testing.assert_allclose(fixed.shares.slopes[:, 1], cheaper.shares.slopes[:, 1], rtol=1e-9)


def test_other_laws_and_discounts(result):
    slow = law_of([0.8, 0.2, 0.0])
    found = result.counterfactual(transitions=slow, discount=0.0)
    static = np.exp(log_policy(result.values, discount=0.0))
    np.testing.assert_allclose(found.policy.value, static, rtol=1e-10)
    move = np.einsum("sa,sat->st", static, slow)
    d = found.distribution.value
    np.testing.assert_allclose(d @ move, d, atol=1e-12)


def test_demand_falls_with_the_price(result, cheaper):
    prices, shares = result.demand("rc", np.array([2.0, 3.0, 4.0]), "replace")
    np.testing.assert_array_equal(prices, [2, 3, 4])
    assert np.all(np.diff(shares.value) < 0)
    chances = result.transition_probabilities[0][0]
    middle = expected(np.array([3.0, result["wear"]]), chances)["shares"][1]
    np.testing.assert_allclose(shares.value[1], middle, rtol=1e-8)
    assert np.all(shares.standard_error > 0)


def test_the_stationary_distribution_of_many_states(monkeypatch):
    """By GMRES, which is what many states get, with derivatives as by the matrix."""
    law = sb.Dense(law_of([0.3, 0.5, 0.2]))

    def chance(rc):
        policy = jax.nn.softmax(jnp.stack([-0.5 * jnp.arange(SIZE), jnp.full(SIZE, -rc)], 1))
        return stationary(law, policy)

    dense = jax.jit(lambda x: jax.jvp(chance, (x,), (1.0,)))(2.0)
    monkeypatch.setattr("sobirl.estimation.counterfactuals._DENSE", 1)
    krylov = jax.jit(lambda x: jax.jvp(chance, (x,), (1.0,)))(2.0)
    np.testing.assert_allclose(krylov, dense, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"price": 1.0}, "price: is no parameter; there are 'rc', 'wear'"),
        ({"rc": np.ones(2)}, r"rc: expected a finite number or shape \(\)"),
        ({"rc": np.nan}, "rc: expected a finite number"),
        ({"discount": 1.0}, r"discount: must lie in \[0, 1\), got 1.0"),
        ({"transitions": np.ones((2, 2, 2)) / 2}, "transitions: the law is of 2 states"),
        ({"initial": np.ones(6)}, "initial: expected probabilities of 6 states"),
    ],
)
def test_bad_changes(result, changes, message):
    with pytest.raises(sb.InvalidInputError, match=message):
        result.counterfactual(**changes)
    with pytest.raises(sb.InvalidInputError, match="action: 'sell' is none"):
        result.demand("rc", [1.0], "sell")
