"""Four Rooms: the published rules, checked against formulas written out anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from sobirl.problems import four_rooms as fr


def plain_transition():
    """P (S,A,S) from the map, step by step."""
    states = {cell: i for i, cell in enumerate(fr.cells())}
    P = np.zeros((len(states), 4, len(states)))
    for (row, column), s in states.items():
        for a in range(4):
            for move, (down, right) in enumerate([(-1, 0), (0, 1), (1, 0), (0, -1)]):
                end = states.get((row + down, column + right), s)
                P[s, a, end] += 0.56 if move == a else 0.44 / 3
    return P


def test_map():
    assert len(fr.cells()) == 104
    assert {fr.START, fr.MARKED, *fr.GOALS} <= set(fr.cells())


def test_transitions():
    mdp = fr.FourRooms().walk.follower(jnp.zeros(105), jnp.array(3))
    dense = jax.vmap(mdp.transition.expect)(jnp.eye(104))
    np.testing.assert_allclose(np.moveaxis(dense, 0, -1), plain_transition(), atol=1e-15)


def test_value_of_a_goal():
    design = fr.FourRooms(temperature=0.003)
    goal = fr.state_of(fr.GOALS[0])
    solution = sb.solve(design.walk.follower(jnp.zeros(105), jnp.array(goal)))
    np.testing.assert_allclose(solution.value[goal], 1 + 0.003 * np.log(4), rtol=1e-12)


def test_leader_value_from_plain_linear_algebra():
    design, w = fr.FourRooms(0.005, 3.0), jax.random.normal(jax.random.key(0), (105,))
    softmax = np.exp(w) / np.exp(w).sum()
    P, total = plain_transition(), 0.0
    for goal_cell in fr.GOALS:
        goal = fr.state_of(goal_cell)
        policy = np.asarray(sb.solve(design.walk.follower(w, jnp.array(goal))).policy)
        matrix = np.einsum("sa,sat->st", policy, P)
        reward = np.zeros(104)
        reward[fr.state_of(fr.MARKED)] = 1.0
        reward[goal] = -3.0 * 0.2 * (1 - softmax[-1])
        matrix[goal] = 0.0
        values = np.linalg.solve(np.eye(104) - 0.99 * matrix, reward)
        total += values[fr.state_of(fr.START)] / 2
    np.testing.assert_allclose(-design.problem().value(w), total, rtol=1e-10)


@pytest.mark.parametrize("temperature", [0.001, pytest.param(0.005, marks=pytest.mark.slow)])
def test_gradient(temperature):
    problem = fr.FourRooms(temperature).problem()
    check = sb.check_gradients(problem, fr.random_start(jax.random.key(1)), directions=2)
    assert check.ok, str(check)


def test_published_cells():
    assert len(fr.PUBLISHED) == 9
    assert fr.FourRooms().published() == {"HPGD": 0.91, "AMD": 0.58, "zero-order": 0.59}
    assert fr.FourRooms(0.002).published() is None
