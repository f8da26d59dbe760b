"""AMD: the derivative of the updates that it unrolls, and of what it leaves out."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from estimators import (
    BEST_WAGE,
    INCENTIVES,
    decay,
    estimate,
    finite_differences,
    gradient,
    learned_wage,
    sticky,
)

INSTANCE = dataclasses.replace(INCENTIVES, transition=sticky(INCENTIVES.transition))
PROBLEM, X = INSTANCE.problem(), INSTANCE.x0()
START = jnp.array([1.0, -2.0, 0.5])


def test_is_the_derivative_of_its_own_objective():
    method = sb.AMD(updates=3)

    def objective(x):
        return method.estimate(PROBLEM, x, START, jax.random.key(0))[2]["objective"]

    hypergradient, _, _ = estimate(method, PROBLEM, X, START)
    np.testing.assert_allclose(hypergradient, finite_differences(objective, X), rtol=1e-7)


def test_the_error_falls_with_the_updates():
    """By γ and what the chain itself forgets, for every update."""
    exact, value = gradient(PROBLEM, X), sb.solve(INSTANCE.follower(X)).value
    errors = [
        np.linalg.norm(estimate(sb.AMD(updates), PROBLEM, X, value)[0] - exact)
        for updates in (20, 30, 200)
    ]
    rate, expected = np.log(errors[1] / errors[0]) / 10, np.log(decay(INSTANCE.follower(X)))
    np.testing.assert_allclose(rate, expected, rtol=0.15)
    assert np.log(0.4) < rate < np.log(INSTANCE.discount)
    assert errors[2] < 1e-12


def test_goes_on_where_it_ended():
    method = sb.AMD(updates=5)
    _, state, first = estimate(method, PROBLEM, X)
    _, _, second = estimate(method, PROBLEM, X, state)
    assert second["residual"] < 0.8**5 * first["residual"]


def test_values_that_explode_are_reported():
    _, _, metrics = estimate(sb.AMD(updates=2), PROBLEM, X, jnp.full(3, jnp.nan))
    assert metrics["status"] == sb.Status.NOT_FINITE


@pytest.mark.slow
def test_finds_the_best_wage():
    np.testing.assert_allclose(learned_wage(sb.AMD(updates=10)), BEST_WAGE, atol=1e-2)
