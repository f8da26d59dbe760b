"""Fitted values: with every transition seen as often as it should be, they are exact."""

import jax.numpy as jnp
import numpy as np
import pytest

from mdps import ACTIONS, STATES, random_mdp, random_policy, table
from sobirl.hypergrad.transition_counts import TransitionCounts
from sobirl.solvers import policy_value

POLICY = random_policy(1)
REWARD = jnp.asarray(np.random.default_rng(2).normal(size=(STATES, ACTIONS)))
LAW = random_mdp(0).transition
DISCOUNT = jnp.full((STATES, ACTIONS), 0.9).at[3].set(0.0)


@pytest.fixture
def mdp():
    return random_mdp(0, discount=DISCOUNT)


def in_proportion(mdp):
    return TransitionCounts(jnp.asarray(1000 * table(mdp.transition)))


def exact_advantage(mdp):
    value = policy_value(mdp, POLICY, REWARD)
    return REWARD + DISCOUNT * mdp.transition.expect(value) - value[:, None]


def test_the_advantage_is_exact_once_all_is_seen_in_proportion(mdp):
    fitted = in_proportion(mdp).evaluate(mdp.transition, POLICY, DISCOUNT).advantage(REWARD)
    np.testing.assert_allclose(fitted, exact_advantage(mdp), atol=1e-12)


def test_visits_are_exact_once_all_is_seen_in_proportion(mdp):
    arrivals = mdp.transition.push(DISCOUNT * REWARD)
    visits = np.linalg.solve(np.asarray(mdp.policy_system(POLICY).as_matrix()).T, arrivals)
    fitted = in_proportion(mdp).evaluate(mdp.transition, POLICY, DISCOUNT).visits_after(REWARD)
    np.testing.assert_allclose(fitted, visits[:, None] * POLICY, atol=1e-12)


def test_transitions_are_counted():
    counts = TransitionCounts.empty(LAW, jnp.float64)
    state, action, after = (jnp.array(a) for a in ([0, 0, 0, 1], [1, 1, 1, 2], [2, 2, 3, 0]))
    live = jnp.array([True, True, True, False])
    counts = counts.add(LAW, state, action, after, live)
    assert counts.seen[0, 1, 2] == 2
    assert counts.seen.sum() == 3
    np.testing.assert_allclose(counts.law()[0, 1], [0, 0, 2 / 3, 1 / 3, 0])
    later = counts.add(LAW, state, action, after, live, memory=0.5)
    np.testing.assert_allclose(later.seen, 1.5 * counts.seen)


def test_what_was_never_seen_has_no_advantage(mdp):
    seen = in_proportion(mdp).seen.at[0, 1].set(0.0).at[2].set(0.0)
    advantage = TransitionCounts(seen).evaluate(mdp.transition, POLICY, DISCOUNT).advantage(REWARD)
    assert jnp.isfinite(advantage).all()
    assert advantage[0, 1] == 0
    assert (advantage[2] == 0).all()
    known = POLICY.at[0, 1].set(0.0)
    np.testing.assert_allclose((known * advantage).sum(axis=-1), 0, atol=1e-12)


def test_nothing_seen_is_nothing_known():
    counts = TransitionCounts.empty(LAW, jnp.float64)
    fitted = counts.evaluate(LAW, POLICY, DISCOUNT)
    assert (fitted.advantage(REWARD) == 0).all()
    assert (fitted.visits_after(REWARD) == 0).all()
