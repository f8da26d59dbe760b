"""Sampled visits against the linear system that they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from estimators import assert_mean, compiled
from mdps import ACTIONS, OPERATORS, STATES, random_mdp, random_policy
from sobirl.mdp.visits import sample_visits_after

# Starts (K,N) with weights of either sign.
STATE = jnp.array([[0, 1, 4], [0, 3, 4]], jnp.int32)
ACTION = jnp.array([[2, 0, 1], [1, 0, 1]], jnp.int32)
WEIGHT = jnp.array([[1.0, 0.5, 2.0], [-1.0, 0.25, -2.0]])
POLICY = random_policy(0)


def sample(mdp, horizon=None, count=4000, weight=WEIGHT):
    """Independent visits (count, S*A), and the steps taken."""

    def one(key):
        visits, steps = sample_visits_after(mdp, POLICY, key, STATE, ACTION, weight, horizon)
        return visits.ravel(), steps

    keys = jax.random.split(jax.random.key(0), count)
    return jax.tree.map(np.asarray, compiled(jax.vmap(one))(keys))


def expected(mdp, horizon=None):
    """Σ_{k≥1} of discounted visits, from P."""
    start = np.zeros((STATES, ACTIONS))
    np.add.at(start, (np.asarray(STATE), np.asarray(ACTION)), np.asarray(WEIGHT))
    discount = np.broadcast_to(np.asarray(mdp.discount), (STATES, ACTIONS))
    visits, total = start, np.zeros_like(start)
    for _ in range(2000 if horizon is None else horizon):
        arrivals = np.asarray(mdp.transition.push(jnp.asarray(discount * visits)))
        visits = arrivals[:, None] * np.asarray(POLICY)
        total += visits
    return total.ravel()


def cases():
    """One discount for all, by state and action, and with ends of episodes."""
    table = np.random.default_rng(0).uniform(0.3, 0.9, size=(STATES, ACTIONS))
    ends = np.where(np.arange(STATES) == 2, 0.0, 0.8)
    return {"scalar": 0.8, "table": table, "ends": ends}


@pytest.mark.parametrize("name", ["scalar", "table", "ends"])
def test_walks_without_a_horizon_leave_nothing_out(name):
    mdp = random_mdp(0, discount=cases()[name])
    visits, _ = sample(mdp)
    assert_mean(visits, expected(mdp))


@pytest.mark.parametrize("horizon", [1, 4])
@pytest.mark.parametrize("operator", OPERATORS)
def test_walks_up_to_a_horizon(operator, horizon):
    mdp = random_mdp(1, discount=0.8, operator=operator)
    visits, steps = sample(mdp, horizon)
    assert_mean(visits[:, np.ptp(visits, axis=0) > 0], expected(mdp, horizon)[visits.any(axis=0)])
    assert (steps == WEIGHT.size * horizon).all()


def test_steps_are_those_that_walks_take():
    """Each goes on with probability γ: γ/(1-γ) steps after the first on average."""
    _, steps = sample(random_mdp(0, discount=0.8))
    assert_mean(steps[:, None].astype(float), np.array([WEIGHT.size * 0.8 / 0.2]))


def test_equal_walks_of_opposite_weight_cancel():
    """Walks of a column share their random numbers."""
    same = jnp.zeros_like(WEIGHT).at[:, 2].set(WEIGHT[:, 2])
    visits, _ = sample(random_mdp(0), count=100, weight=same)
    assert (visits == 0).all()


def test_nothing_to_follow():
    visits, steps = sample(random_mdp(0), count=2, weight=jnp.zeros_like(WEIGHT))
    assert (visits == 0).all()
    assert (steps == 0).all()
