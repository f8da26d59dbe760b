"""The implicit term against theory, on a table where theory can be reckoned exactly."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deep.tabular_pairs import (
    LINEAR,
    A,
    S,
    gradients,
    implicit_term,
    model,
    optimal_policy,
    pairs,
    view,
)
from estimators import assert_mean, assert_not_mean
from sobirl.core.errors import InvalidInputError
from sobirl.deep.continuous_sac import ContinuousSAC
from sobirl.deep.follower import FollowerView
from sobirl.deep.implicit import ImplicitTerm
from sobirl.deep.reward_model import RewardModel
from sobirl.experience import Fragment

BATCHES, SIZE = 300, 256
OTHER_POLICY = np.array([[0.3, 0.7], [0.6, 0.4], [0.5, 0.5]])


def first_action(table):
    """What determines tables (...,S,2) that sum to 0 in every state."""
    np.testing.assert_allclose(table.sum(axis=-1), 0, atol=1e-5)
    return table[..., 0]


@pytest.mark.parametrize("baseline", [True, False])
def test_horizon_0_is_what_theory_says(baseline):
    batches = pairs(optimal_policy(), BATCHES, SIZE)
    found = gradients(ImplicitTerm(baseline=baseline, off_policy="none"), *batches)
    expected = first_action(implicit_term(0))
    assert_mean(first_action(found), expected)
    assert_not_mean(first_action(found), 0 * expected)
    assert_not_mean(first_action(found), -expected)


def test_a_baseline_lowers_the_variance():
    batches = pairs(optimal_policy(), BATCHES, SIZE)
    plain, better = (
        gradients(ImplicitTerm(baseline=baseline, off_policy="none"), *batches).var(axis=0).sum()
        for baseline in (False, True)
    )
    assert better < 0.8 * plain


def test_weights_correct_for_another_policy():
    batches = pairs(OTHER_POLICY, BATCHES, SIZE)
    expected = first_action(implicit_term(0))
    weighted = ImplicitTerm(off_policy="importance", largest=1e6)
    assert_mean(first_action(gradients(weighted, *batches)), expected)
    assert_not_mean(first_action(gradients(ImplicitTerm(off_policy="none"), *batches)), expected)


def test_importance_weights_have_a_bound():
    some, label = pairs(optimal_policy(), 2, 8)
    unlikely = eqx.tree_at(lambda f: f.log_prob, some, some.log_prob - 100)
    bounded = gradients(ImplicitTerm(off_policy="importance", largest=3.0), unlikely, label)
    plain = gradients(ImplicitTerm(off_policy="none"), some, label)
    np.testing.assert_allclose(bounded, plain, atol=1e-6)


def test_older_fragments_are_left_out():
    some, label = pairs(optimal_policy(), 1, 8)
    age = jnp.zeros((1, 8, 2), jnp.int32).at[0, 5, 1].set(11).at[0, 6, 0].set(12).at[0, 7].set(30)
    old = eqx.tree_at(lambda f: f.taken_at, some, -age)  # now is 0
    found = gradients(ImplicitTerm(recent=11), old, label)
    young = jax.tree.map(lambda leaf: leaf[:, :6], (some, label))
    np.testing.assert_allclose(found, gradients(ImplicitTerm(), *young), atol=1e-6)


def test_weight_is_a_factor():
    batches = pairs(optimal_policy(), 2, 8)
    plain, double = (gradients(ImplicitTerm(weight=weight), *batches) for weight in (1.0, 2.0))
    np.testing.assert_allclose(double, 2 * plain, rtol=1e-5)


def test_steps_outside_the_mask_do_not_count():
    some, label = pairs(optimal_policy(), 2, 8)
    short = eqx.tree_at(lambda f: f.mask, some, some.mask.at[..., 1:].set(False))
    moved = eqx.tree_at(lambda f: f.action, short, short.action.at[..., 1:].add(1) % A)
    for off_policy in ("none", "importance"):
        term = ImplicitTerm(off_policy=off_policy)
        np.testing.assert_array_equal(gradients(term, short, label), gradients(term, moved, label))


@pytest.mark.parametrize("off_policy", ["recent", "importance"])
def test_nothing_that_counts_gives_nothing(off_policy):
    some, label = pairs(optimal_policy(), 1, 4)
    old = eqx.tree_at(
        lambda f: (f.mask, f.taken_at), some, (jnp.zeros_like(some.mask), some.taken_at - 10**6)
    )
    found = gradients(ImplicitTerm(off_policy=off_policy), old, label)
    np.testing.assert_array_equal(found, np.zeros((1, S, A)))


def surrogate(reward, term, some, weight):
    """The number that is differentiated, of a batch (B,2)."""
    losses = jnp.arange(len(weight), dtype=jnp.float32)
    key = jax.random.key(0)
    return term.surrogate(reward, view(optimal_policy()), some, losses, weight, key)


def test_gradient_is_that_of_finite_differences():
    some, _ = jax.tree.map(lambda leaf: leaf[0], pairs(optimal_policy(), 1, 6))
    term = ImplicitTerm(off_policy="importance")
    bounded = RewardModel((S,), jax.random.key(0), A, bound=1.0, members=2, architecture=LINEAR)
    direction = jax.tree.map(
        lambda leaf: jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), bounded
    )
    value = jax.jit(
        lambda step: surrogate(
            jax.tree.map(lambda a, b: a + step * b, bounded, direction), term, some, jnp.ones(6)
        )
    )
    step = 1e-2
    difference = (value(step) - value(-step)) / (2 * step)
    np.testing.assert_allclose(jax.jit(jax.grad(value))(0.0), difference, rtol=1e-3)


def test_pairs_that_do_not_count():
    some, _ = jax.tree.map(lambda leaf: leaf[0], pairs(optimal_policy(), 1, 6))
    weight = jnp.array([1.0, 1, 1, 1, 0, 0])
    fewer = jax.tree.map(lambda leaf: leaf[:4], some)
    run = eqx.filter_jit(eqx.filter_grad(surrogate))
    found = run(model(), ImplicitTerm(), some, weight)
    expected = run(model(), ImplicitTerm(), fewer, jnp.ones(4))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)


def test_continuous_actions():
    """With r = w a + u s and l the first action: 1/τ Var(a) for w, nothing for u."""
    follower = ContinuousSAC((1,), temperature=0.5, action_size=1, widths=())
    bias = jnp.array([0.3, 0.35])  # a standard deviation of 0.8 before the tanh
    state = eqx.tree_at(
        lambda s: (s.actor.head.weight, s.actor.head.bias),
        follower.init(jax.random.key(1)),
        (jnp.zeros((2, 1)), bias),
    )
    seen = FollowerView(follower, state, jnp.int32(0), jnp.int32(0))
    reward = RewardModel((1,), jax.random.key(0), action_size=1, architecture=LINEAR)
    observation = jnp.ones((BATCHES, SIZE, 2, 1, 1))
    act = jax.jit(follower.act)
    drawn, log_prob = act(state, jnp.ones((BATCHES * SIZE * 2, 1)), jax.random.key(2))
    some = Fragment(
        observation=observation,
        action=drawn.reshape(BATCHES, SIZE, 2, 1, 1),
        reward=jnp.zeros((BATCHES, SIZE, 2, 1)),
        log_prob=log_prob.reshape(BATCHES, SIZE, 2, 1),
        mask=jnp.ones((BATCHES, SIZE, 2, 1), bool),
        taken_at=jnp.zeros((BATCHES, SIZE, 2), jnp.int32),
    )

    @eqx.filter_jit
    def found(term, some, keys):
        def one(some, key):
            gradient = jax.grad(term.surrogate)(
                reward, seen, some, some.action[:, 0, 0, 0], jnp.ones(SIZE), key
            )
            head = gradient.ensemble.members[0].head
            return jnp.concatenate([head.weight[0], head.bias])

        return jax.vmap(one)(some, keys)

    keys = jax.random.split(jax.random.key(3), BATCHES)
    variance = np.var(act(state, jnp.ones((10**6, 1)), jax.random.key(4))[0])
    by_state, action, bias = np.asarray(found(ImplicitTerm(off_policy="importance"), some, keys)).T
    assert_mean(action[:, None], variance / 0.5)
    np.testing.assert_allclose([by_state, bias], 0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recent": 0}, "recent: must be positive, got 0"),
        ({"actions": 0}, "actions: must be positive"),
        ({"largest": -1.0}, "largest: must be positive"),
        ({"off_policy": "never"}, "off_policy"),
        ({"horizon": -1}, "horizon: must be 'full' or a number of steps from 0, got -1"),
        ({"horizon": "long"}, "horizon"),
        ({"start": -1}, "start: must not be negative, got -1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises((InvalidInputError, TypeError), match=message):
        ImplicitTerm(**options)
