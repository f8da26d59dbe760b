"""Mazes: what is drawn, where steps lead, the share as a probability, and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from estimators import finite_differences, gradient, value
from sobirl.core.errors import InvalidInputError
from sobirl.problems.maze import MOVES, Maze

SMALL = Maze.generate(6, walls=0.15, seed=1, blocks=2, discount=0.95, temperature=0.5)
X = jnp.array([[0.3, 0.1], [0.2, 0.4]])


def test_one_connected_maze_that_the_seed_decides():
    first, again, other = (Maze.generate(20, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.free, again.free)
    assert not np.array_equal(first.free, other.free)
    reached = np.zeros_like(first.free)
    reached[first.goal] = True
    for _ in range(first.free.size):  # one flood from the goal reaches all
        padded = np.pad(reached, 1)
        near = [np.roll(padded, move, (0, 1))[1:-1, 1:-1] for move in MOVES]
        reached |= first.free & np.any(near, axis=0)
    np.testing.assert_array_equal(reached, first.free)


def test_a_step_goes_ahead_or_to_either_side_and_walls_hold_it():
    mdp = SMALL.walk.follower(X)
    law = np.asarray(mdp.transition.matrix(jnp.ones(mdp.shape).at[:, 1:].set(0)))  # all go up
    state = -np.ones(SMALL.free.shape, int)
    state[SMALL.free] = np.arange(SMALL.free.sum())
    for row, column in np.argwhere(SMALL.free):
        here, expected = state[row, column], np.zeros(SMALL.free.sum())
        if (row, column) == SMALL.goal:
            expected[here] = 1
        else:
            for down, right, chance in ((-1, 0, 0.8), (0, -1, 0.1), (0, 1, 0.1)):
                there = row + down, column + right
                inside = min(there) >= 0 and max(there) < len(SMALL.free)
                expected[state[there] if inside and SMALL.free[there] else here] += chance
        np.testing.assert_allclose(law[here], expected, atol=1e-15)


def test_tolls_are_paid_by_block_and_nothing_at_the_goal():
    reward = np.asarray(SMALL.walk.follower(X).reward[:, 0])
    expected = -(1 + np.kron(X, np.ones((3, 3)))[SMALL.free])
    expected[np.asarray(SMALL.walk.at_goal)] = 0
    np.testing.assert_allclose(reward, expected)


def test_the_objective_is_the_probability_to_come_into_the_quiet_quarter():
    mdp = SMALL.walk.follower(X)
    policy = sb.solve(mdp).policy
    law = np.asarray(mdp.transition.matrix(policy))
    quiet, goal = np.asarray(SMALL.walk.is_quiet), np.asarray(SMALL.walk.at_goal)
    free = ~quiet & ~goal
    hit = np.linalg.solve(np.eye(free.sum()) - law[np.ix_(free, free)], law[free][:, quiet].sum(1))
    initial = np.asarray(mdp.initial)
    expected = initial[free] @ hit + initial[quiet].sum()
    assert 0.05 < expected < 0.999
    # The discount that stands for 1 takes a millionth a step.
    np.testing.assert_allclose(value(SMALL.problem(), X), expected, rtol=1e-3)


def test_gradients():
    problem = SMALL.problem()
    expected = finite_differences(lambda x: value(problem, x), X)
    np.testing.assert_allclose(gradient(problem, X), expected, rtol=1e-5)
    assert sb.check_gradients(problem, X).ok


def test_the_explicit_gradient_is_zero():
    problem = SMALL.problem()
    response = sb.solve(SMALL.walk.follower(X)).response
    np.testing.assert_array_equal(jax.grad(problem.upper)(X, response), 0)
    assert np.linalg.norm(gradient(problem, X)) > 1e-3


def test_even_tolls_spend_the_total_where_they_are_asked_for():
    tolls = SMALL.even(2.0, SMALL.is_quiet)
    np.testing.assert_allclose(tolls.sum(), 2)
    maze = Maze.generate(20, seed=0)
    np.testing.assert_array_equal(maze.even(1.0, maze.is_quiet)[0], 0)


def test_numbers_on_the_map():
    table = SMALL.on_map(np.arange(SMALL.free.sum(), dtype=float))
    np.testing.assert_array_equal(np.isnan(table), ~SMALL.free)
    np.testing.assert_array_equal(table[SMALL.free], np.arange(SMALL.free.sum()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 3}, "size: must be at least 4, got 3"),
        ({"walls": -0.1}, r"walls: must lie in \[0, 1\), got -0.1"),
        ({"walls": 0.9}, "walls: a share of 0.9 leaves no way from the left"),
        ({"blocks": 21}, r"blocks: must lie in 1..20, the size; got 21"),
        ({"slip": 1.0}, r"slip: must lie in \[0, 1\), got 1"),
    ],
)
def test_bad_mazes_are_refused(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        Maze.generate(**arguments)
