"""SoBiRL: the exact sums against two witnesses, samples against the exact sums."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from estimators import (
    BEST_WAGE,
    PREFERENCES,
    assert_mean,
    assert_not_mean,
    chains,
    decay,
    estimate,
    estimates,
    finite_differences,
    gradient,
    learned_wage,
    sticky,
)

INSTANCE = dataclasses.replace(PREFERENCES, transition=sticky(PREFERENCES.transition))
PROBLEM, X = INSTANCE.problem(), jnp.array([0.4, -0.3])


# What the teacher alone thinks of a trajectory: all of its derivative is the follower's response.
SCORE = sb.BilevelProblem(
    INSTANCE.follower,
    sb.TrajectoryLoss(
        INSTANCE.follower, lambda x, d: -jnp.sum(jnp.asarray(INSTANCE.truth)[d.state, d.action]), 2
    ),
)


def in_contexts():
    """Two teachers with different weights, and a follower whom the context moves."""

    def follower(x, context):
        return INSTANCE.follower(x * (1 + context))

    def loss(x, pair, context):
        return INSTANCE.loss(x + context, pair)

    objective = sb.TrajectoryLoss(follower, loss, 2, num_trajectories=2)
    contexts, weights = jnp.array([0.0, 0.5]), jnp.array([0.7, 0.3])
    return sb.BilevelProblem(follower, objective, contexts, weights)


@pytest.fixture(scope="module")
def exact():
    return gradient(PROBLEM, X)


def test_the_exact_sums_are_the_gradient(exact):
    method = sb.SoBiRL(expectations="exact")
    hypergradient, state, _ = estimate(method, PROBLEM, X)
    np.testing.assert_allclose(hypergradient, exact, rtol=1e-10)

    def objective(x):
        return method.estimate(PROBLEM, x, state, jax.random.key(0))[2]["objective"]

    np.testing.assert_allclose(hypergradient, finite_differences(objective, X), rtol=1e-6)


def test_contexts_are_averaged():
    problem = in_contexts()
    hypergradient, _, _ = estimate(sb.SoBiRL(expectations="exact"), problem, X)
    np.testing.assert_allclose(hypergradient, gradient(problem, X), rtol=1e-9)


@pytest.fixture(scope="module")
def truncated():
    """∇φ of the score with walks of so many steps, exactly."""
    return {
        horizon: estimate(sb.SoBiRL(horizon=horizon, expectations="exact"), SCORE, X)[0]
        for horizon in (0, 2, 12, "full")
    }


def test_what_a_horizon_leaves_out(truncated):
    """Of order γ^{n+1}: by γ and what the chain itself forgets, for every step."""
    exact = truncated["full"]
    errors = {n: np.linalg.norm(truncated[n] - exact) for n in (0, 2, 12)}
    assert errors[0] > 0.1 * np.linalg.norm(exact)
    rate, expected = np.log(errors[12] / errors[2]) / 10, np.log(decay(INSTANCE.follower(X)))
    np.testing.assert_allclose(rate, expected, rtol=0.15)
    assert all(error <= errors[0] * INSTANCE.discount**n for n, error in errors.items())


@pytest.mark.parametrize("baseline", [True, False])
def test_full_walks_are_unbiased(exact, baseline):
    method = sb.SoBiRL(num_tuples=8, baseline=baseline)
    assert_mean(estimates(method, PROBLEM, X, 1000), exact)


@pytest.mark.parametrize("horizon", [0, 2])
def test_walks_with_a_horizon_have_the_truncated_mean(truncated, horizon):
    samples = estimates(sb.SoBiRL(num_tuples=16, horizon=horizon), SCORE, X, 3000)
    assert_mean(samples, truncated[horizon])
    assert_not_mean(samples, truncated["full"])


def test_fitted_tails_are_consistent(truncated):
    """They begin with what no walk adds, and soon know the rest."""
    method = sb.SoBiRL(num_tuples=16, tails="fitted")
    samples = chains(method, SCORE, X, steps=20, count=2000)
    assert_mean(samples[:, 0], truncated[0])
    assert_not_mean(samples[:, 0], truncated["full"])
    assert_mean(samples[:, 10:].mean(axis=1), truncated["full"])


@pytest.mark.parametrize("inner", ["sweep", "policy_gradient"])
def test_the_stochastic_variant_with_a_follower_that_arrives(truncated, inner):
    method = sb.StocSoBiRL(horizon=2, expectations="exact", inner=inner, inner_steps=300)
    hypergradient, _, _ = estimate(method, SCORE, X)
    np.testing.assert_allclose(hypergradient, truncated[2], rtol=1e-6)


def test_a_few_steps_of_the_follower_add_up():
    """Ten times three steps lead where thirty lead."""
    few, many = (sb.StocSoBiRL(inner_steps=steps) for steps in (3, 30))
    mdp = INSTANCE.follower(X)
    follower = few.start_follower(mdp)
    for _ in range(10):
        _, follower, _ = few.follow(mdp, follower)
    np.testing.assert_allclose(follower, many.follow(mdp, many.start_follower(mdp))[1], rtol=1e-12)


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("error", [10.0, 0.1, 1e-3])
def test_tail_horizon_is_the_shortest_that_keeps_the_bound(discount, error):
    def left_out(horizon):
        return discount ** (horizon + 1) / (1 - discount)

    horizon = sb.tail_horizon(discount, error)
    assert left_out(horizon) <= error * (1 + 1e-9)
    assert horizon == 0 or left_out(horizon - 1) > error


def test_losses_that_are_not_finite_are_reported():
    objective = sb.TrajectoryLoss(INSTANCE.follower, lambda x, d: jnp.log(x[0] * 0.0), 1)
    problem = sb.BilevelProblem(INSTANCE.follower, objective)
    _, _, metrics = estimate(sb.SoBiRL(num_tuples=2, horizon=0), problem, X)
    assert metrics["status"] == sb.Status.NOT_FINITE
    assert math.isinf(metrics["objective"])


@pytest.mark.parametrize(
    "method",
    [
        sb.SoBiRL(horizon=0, solver=sb.ValueIteration(rtol=1e-8)),
        *(
            pytest.param(method, marks=pytest.mark.slow)
            for method in (
                sb.SoBiRL(),
                sb.SoBiRL(tails="fitted"),
                sb.StocSoBiRL(num_tuples=64),
                sb.StocSoBiRL(num_tuples=64, inner="policy_gradient"),
            )
        ),
    ],
    ids=lambda method: type(method).__name__,
)
def test_finds_the_best_wage(method):
    wage = learned_wage(method, of_trajectories=True)
    np.testing.assert_allclose(wage, BEST_WAGE, atol=0.1)
