"""Goal position: two witnesses of the gradient, and why the temperature has to vanish."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from estimators import compiled, finite_differences, gradient, value
from sobirl.core.errors import InvalidInputError
from sobirl.problems.goal_position import DISCOUNT, GoalPosition

X = jnp.array([4.3, 3.6])


def test_two_witnesses_of_the_gradient():
    problem = GoalPosition(6, 0.05).problem()
    exact = gradient(problem, X)
    np.testing.assert_allclose(exact, finite_differences(lambda x: value(problem, x), X), rtol=1e-6)

    def through_sweeps(x):
        mdp = problem.lower(x)
        sweep = lambda value, _: (mdp.soft_value(mdp.action_value(value)), None)  # noqa: E731
        last, _ = jax.lax.scan(sweep, jnp.zeros(mdp.shape[0]), length=600)
        return problem.upper(x, mdp.respond(last))

    np.testing.assert_allclose(exact, compiled(jax.grad(through_sweeps))(X), rtol=1e-7)
    assert np.linalg.norm(exact) > 0.01


def test_a_decided_walker_says_nothing_to_a_small_move():
    """On a terrace φ hardly changes; a soft walker's does."""
    cold, soft = (gradient(GoalPosition(6, t).problem(), X) for t in (1e-4, 0.05))
    assert np.linalg.norm(cold) < 1e-3 * np.linalg.norm(soft)


def test_the_walker_goes_first_where_it_is_farther_off():
    """From the corner (0, 0) to a goal in row 4, column 1: downwards; and it stays there."""
    problem = GoalPosition(6, 1e-4).problem()
    response = problem.respond(jnp.array([4.0, 1.0]))
    assert response.policy[0, 2] > 0.99  # down
    assert response.policy[4 * 6 + 1, 4] > 0.99  # stay
    law = problem.lower(X).transition
    one_row_down, corner = (jnp.zeros(36).at[state].set(1.0) for state in (6, 0))
    np.testing.assert_allclose(law.expect(one_row_down)[0], [0.025, 0.025, 0.9, 0.025, 0.025])
    np.testing.assert_allclose(law.expect(corner)[0, 0], 0.9 + 2 * 0.025)  # up, left, stay


def test_what_a_step_earns():
    instance = GoalPosition(8)
    pay = np.asarray(instance.walker.leader_reward(X)).reshape(8, 8) / (1 - DISCOUNT)
    assert pay[7, 7] == pytest.approx(1) and pay[3, 3] == pytest.approx(-2) and pay[0, 0] == 0
    assert not (instance.plaza & instance.garden).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 5}, "size: must be at least 6, got 5"),
        ({"temperature": 0.0}, "temperature: must be positive, got 0"),
    ],
)
def test_bad_instances_are_refused(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        GoalPosition(**arguments)
