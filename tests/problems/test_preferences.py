"""Preferences: the loss, its optimum, and what the follower's response adds to its derivative."""

import jax
import jax.numpy as jnp
import numpy as np

import sobirl as sb
from estimators import PREFERENCES, compiled, finite_differences, gradient, value
from sobirl.problems.preferences import Preferences

X = jnp.array([0.4, -0.3])


def pair(first, second):
    """Two trajectories, each as rows of states and actions."""
    return sb.Trajectories(*(jnp.array(rows) for rows in zip(first, second, strict=True)))


def test_the_loss_is_a_cross_entropy():
    d = pair(([0, 1], [1, 0]), ([2, 2], [0, 1]))
    reward = np.asarray(PREFERENCES.features @ X)

    def gap(table):
        return table[0, 1] + table[1, 0] - table[2, 0] - table[2, 1]

    preferred, predicted = (1 / (1 + np.exp(-gap(r))) for r in (PREFERENCES.truth, reward))
    expected = -preferred * np.log(predicted) - (1 - preferred) * np.log(1 - predicted)
    np.testing.assert_allclose(PREFERENCES.loss(X, d), expected, rtol=1e-12)


def test_the_order_of_a_pair_does_not_matter():
    one, other = ([0, 1], [1, 0]), ([2, 2], [0, 1])
    np.testing.assert_allclose(
        PREFERENCES.loss(X, pair(one, other)), PREFERENCES.loss(X, pair(other, one)), rtol=1e-12
    )


def test_the_truth_minimizes_the_loss_of_every_pair():
    """With the true reward among those that can be learned."""
    features = np.stack([PREFERENCES.truth, np.ones((3, 2))], axis=-1)
    instance = Preferences(PREFERENCES.transition, features, PREFERENCES.truth, horizon=2)
    d = pair(([0, 1], [1, 0]), ([2, 2], [0, 1]))
    slope = jax.grad(instance.loss)(jnp.array([1.0, 0.0]), d)
    np.testing.assert_allclose(slope, 0, atol=1e-12)


def test_the_response_is_a_part_of_the_derivative():
    problem = PREFERENCES.problem()
    response = sb.solve(PREFERENCES.follower(X)).response
    explicit = compiled(jax.grad(problem.upper))(X, response)
    whole = gradient(problem, X)
    expected = finite_differences(lambda x: value(problem, x), X)
    np.testing.assert_allclose(whole, expected, rtol=1e-6)
    assert jnp.linalg.norm(whole - explicit) > 0.1 * jnp.linalg.norm(whole)


def test_the_seed_decides():
    first, again, other = (Preferences.generate(seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.truth, again.truth)
    assert not np.array_equal(first.truth, other.truth)
    assert first.features.shape == (6, 3, 4)
    assert sb.problems.preferences.Preferences is Preferences
