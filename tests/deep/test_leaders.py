"""Leaders of deep followers against theory, on a table where theory can be reckoned exactly."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import sobirl as sb
from deep.tabular_pairs import (
    PREFERENCES,
    A,
    S,
    X,
    environments,
    follower_state,
    implicit_term,
    model,
    optimal_policy,
    pairs,
)
from estimators import assert_mean, assert_not_mean, compiled
from sobirl.deep.discrete_sac import DiscreteSAC
from sobirl.deep.follower import FollowerView
from sobirl.deep.leaders.preference_loss import PreferenceLoss
from sobirl.deep.leaders.preferences import PreferenceState
from sobirl.deep.normalized_reward import NormalizedReward
from sobirl.deep.policy_score import PolicyScore
from sobirl.prefs import Labelled

BATCHES, STREAMS, ASKED = 150, 256, 512
FULL = PolicyScore("full")


def free(table):
    """What determines tables (...,S,A) that sum to 0."""
    np.testing.assert_allclose(table.sum(axis=(-1, -2)), 0, atol=1e-4)
    return table.reshape(*table.shape[:-2], S * A)[..., :-1]


def view(temperature=PREFERENCES.temperature):
    """The follower with the best policy for X; None adjusts its temperature."""
    follower = DiscreteSAC(
        (S,),
        PREFERENCES.discount,
        temperature,
        initial_temperature=PREFERENCES.temperature,
        num_actions=A,
        widths=(),
    )
    zero = jnp.int32(0)
    return FollowerView(follower, follower_state(optimal_policy()), zero, zero, environments())


@functools.cache
def drawn(batches=BATCHES, streams=STREAMS, asked=ASKED):
    """Fragments (batches,streams,1) and answered pairs (batches,asked) of the best policy."""
    fragments, _ = pairs(optimal_policy(), batches, streams // 2, seed=1)
    fragments = jax.tree.map(
        lambda leaf: leaf.reshape(batches, streams, 1, *leaf.shape[3:]), fragments
    )
    pair, label = pairs(optimal_policy(), batches, asked, seed=2)
    return fragments, Labelled(pair, label, jnp.zeros(label.shape, jnp.int32))


def terms(leader, seen, reward=None, fragments=None, answered=None, reference=None, **more):
    """Both terms and the metrics of every batch, tables (batches,S,A) of the first member."""
    made, asked = drawn()
    fragments, answered = fragments or made, answered or asked
    reward = reward or NormalizedReward(model(), jnp.zeros(()), jnp.ones(()))
    keys = jax.random.split(jax.random.key(3), len(fragments.mask))
    return _terms(leader, seen, reward, fragments, answered, reference, keys)


@eqx.filter_jit
def _terms(leader, seen, reward, fragments, answered, reference, keys):
    def one(fragments, answered, key):
        state = PreferenceState(reward, answered, answered, reference)
        explicit, implicit, metrics = leader.terms(state, seen, fragments, key)
        tables = (term.ensemble.members[0].head.weight.T for term in (explicit, implicit))
        return *tables, metrics

    return jax.vmap(one)(fragments, answered, keys)


def solved(x, log_temperature):
    mdp = PREFERENCES.follower(x)
    return sb.solve(eqx.tree_at(lambda m: m.temperature, mdp, jnp.exp(log_temperature)))


@functools.cache
def with_moving_temperature(objective=None):
    """The exact implicit term (S,A) where τ keeps the mean entropy over the fragments' states."""
    with jax.enable_x64(True):
        x, log_temperature = jnp.array(X), jnp.log(PREFERENCES.temperature)
        loss = PREFERENCES.problem().objective
        policy = jnp.array(optimal_policy())
        tuples, chance = loss.enumerate(PREFERENCES.follower(X), policy)
        visits = jnp.zeros(S).at[tuples.state[:, 0]].add(chance[:, None])

        def entropy(x, log_temperature):
            log_policy = solved(x, log_temperature).log_policy
            return -visits @ jnp.sum(jnp.exp(log_policy) * log_policy, axis=1)

        def expected(x, log_temperature):
            policy = solved(x, log_temperature).policy
            if objective is not None:
                return objective(policy)
            tuples, chance = loss.enumerate(PREFERENCES.follower(X), policy)
            return chance @ loss.losses(jnp.array(X), tuples)

        gradient = compiled(jax.grad(expected, (0, 1)))(x, log_temperature)
        constraint = compiled(jax.grad(entropy, (0, 1)))(x, log_temperature)
        moves = -constraint[0] / constraint[1]
        return np.asarray(gradient[0] + gradient[1] * moves).reshape(S, A)


def test_the_implicit_term_is_what_theory_says():
    _, implicit, metrics = terms(PreferenceLoss(score=FULL), view())
    found = free(np.asarray(implicit, np.float64))
    assert_mean(found, free(implicit_term("full")))
    assert_not_mean(found, free(implicit_term(0)))


def test_the_temperature_moves_as_theory_says():
    _, implicit, _ = terms(PreferenceLoss(score=FULL), view(None))
    found = free(np.asarray(implicit, np.float64))
    assert_mean(found, free(with_moving_temperature()))
    assert_not_mean(found, free(implicit_term("full")))
