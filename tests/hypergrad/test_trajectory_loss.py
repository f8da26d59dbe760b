"""Losses of trajectories: all of them, and samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from estimators import PREFERENCES, assert_mean, compiled, gradient, value
from mdps import OPERATORS, random_mdp, random_policy

X = jnp.array([0.4, -0.3])


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(("horizon", "num_trajectories"), [(1, 1), (3, 1), (1, 3), (2, 2)])
def test_probabilities_sum_to_1(operator, horizon, num_trajectories):
    mdp, policy = random_mdp(0, operator=operator), random_policy(0)
    objective = sb.TrajectoryLoss(lambda x: mdp, lambda x, d: 0.0, horizon, num_trajectories)
    tuples, probability = objective.enumerate(mdp, policy)
    assert tuples.state.shape == (len(probability), num_trajectories, horizon)
    rows = np.concatenate([tuples.state, tuples.action], axis=-1).reshape(len(probability), -1)
    assert len(np.unique(rows, axis=0)) == len(rows)
    np.testing.assert_allclose(probability.sum(), 1, rtol=1e-12)


def test_the_expectation_is_that_of_samples():
    objective, mdp = PREFERENCES.problem().objective, PREFERENCES.follower(X)
    response = sb.solve(mdp).response

    @compiled
    def both(key):
        tuples, _ = objective.sample(mdp, response.policy, key, 20_000)
        return objective.losses(X, tuples), objective(X, response)

    losses, expected = both(jax.random.key(0))
    assert_mean(np.asarray(losses)[:, None], np.array([expected]))


def test_what_is_held_moves_with_x_alone():
    """f is the sum of both losses; where they are the same, one of them has no response."""
    moving = PREFERENCES.problem()
    loss = moving.objective
    held = sb.BilevelProblem(
        loss.follower, sb.TrajectoryLoss(loss.follower, lambda x, d: 0.0, 2, 2, held=loss.loss)
    )
    np.testing.assert_allclose(value(held, X), value(moving, X), rtol=1e-12)
    response = sb.solve(PREFERENCES.follower(X)).response
    explicit = compiled(jax.grad(moving.upper))(X, response)
    np.testing.assert_allclose(gradient(held, X), explicit, rtol=1e-10)


def test_samples_are_steps_of_the_follower():
    mdp, policy = random_mdp(0), random_policy(0)
    objective = sb.TrajectoryLoss(lambda x: mdp, lambda x, d: 0.0, horizon=4, num_trajectories=2)
    tuples, after = compiled(lambda key: objective.sample(mdp, policy, key, 50))(jax.random.key(1))
    assert tuples.state.shape == tuples.action.shape == after.shape == (50, 2, 4)
    np.testing.assert_array_equal(tuples.state[..., 1:], after[..., :-1])


def test_too_many_tuples():
    objective = sb.TrajectoryLoss(PREFERENCES.follower, PREFERENCES.loss, 5, num_trajectories=2)
    problem = sb.BilevelProblem(PREFERENCES.follower, objective)
    message = r"horizon and num_trajectories: 3 states and 2 actions give 6\.0e\+07 .*SoBiRL\(\)"
    with pytest.raises(sb.InvalidInputError, match=message):
        problem.value(X)


def test_a_loss_of_more_than_one_number():
    objective = sb.TrajectoryLoss(PREFERENCES.follower, lambda x, d: x, 1)
    problem = sb.BilevelProblem(PREFERENCES.follower, objective)
    with pytest.raises(sb.InvalidInputError, match=r"loss: must return one number .* shape \(2,\)"):
        sb.minimize(problem, X, sb.SoBiRL(), num_steps=1)
    held = sb.TrajectoryLoss(PREFERENCES.follower, lambda x, d: 0.0, 1, held=lambda x, d: x)
    with pytest.raises(sb.InvalidInputError, match="held: must return one number for a tuple"):
        sb.BilevelProblem(PREFERENCES.follower, held).value(X)


@pytest.mark.parametrize("name", ["horizon", "num_trajectories"])
def test_bad_numbers(name):
    options = {"horizon": 1, name: 0}
    with pytest.raises(sb.InvalidInputError, match=f"{name}: must be at least 1, got 0"):
        sb.TrajectoryLoss(PREFERENCES.follower, PREFERENCES.loss, **options)
