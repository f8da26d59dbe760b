import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from jax.test_util import check_grads

from mdps import (
    ACTIONS,
    OPERATORS,
    STATES,
    discounts,
    random_mdp,
    random_policy,
    random_rows,
    seeds,
    table,
)
from sobirl.core import InvalidInputError
from sobirl.mdp import Dense, SoftMDP
from sobirl.solvers import occupancy, policy_return, policy_value, solve

every_operator = pytest.mark.parametrize("operator", OPERATORS)


def spread(discount):
    """A scalar, (S,) or (S,A) discount as a table (S,A)."""
    discount = np.asarray(discount)
    return np.broadcast_to(discount[:, None] if discount.ndim == 1 else discount, (STATES, ACTIONS))


def stepwise(mdp, policy, reward, discount, steps):
    """(values, occupancy) by summing over time step by step."""
    flow = spread(discount)[..., None] * np.asarray(policy)[..., None] * table(mdp.transition)
    gain, matrix = (np.asarray(policy) * np.asarray(reward)).sum(axis=-1), flow.sum(axis=1)
    values, visits, now = np.zeros(STATES), np.zeros(STATES), np.asarray(mdp.initial)
    for _ in range(steps):
        values, visits, now = gain + matrix @ values, visits + now, now @ matrix
    return values, visits[:, None] * np.asarray(policy)


@every_operator
@given(seed=seeds, discount=discounts)
def test_values_solve_the_linear_system(operator, seed, discount):
    mdp, policy = random_mdp(seed, discount, operator=operator), random_policy(seed)
    matrix = np.einsum("sa,sat->st", policy, table(mdp.transition))
    gain = np.sum(policy * mdp.reward, axis=-1)
    expected = np.linalg.solve(np.eye(STATES) - discount * matrix, gain)
    np.testing.assert_allclose(policy_value(mdp, policy), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        policy_return(mdp, policy), mdp.initial @ expected, rtol=1e-9, atol=1e-9
    )


@every_operator
@pytest.mark.parametrize("shape", [(), (STATES,), (STATES, ACTIONS)])
@pytest.mark.parametrize("horizon", [None, 1, 7])
def test_values_and_occupancy_are_sums_over_time(operator, shape, horizon):
    discount = np.random.default_rng(0).uniform(0.3, 0.9, size=shape)
    mdp, policy = random_mdp(0, discount, operator=operator), random_policy(0)
    values, visits = stepwise(mdp, policy, mdp.reward, discount, horizon or 1000)
    np.testing.assert_allclose(policy_value(mdp, policy, horizon=horizon), values, rtol=1e-12)
    np.testing.assert_allclose(occupancy(mdp, policy, horizon=horizon), visits, rtol=1e-12)


@pytest.mark.parametrize("shape", [(), (STATES,), (STATES, ACTIONS)])
def test_own_reward_and_discount(shape):
    rng = np.random.default_rng(1)
    discount, reward = rng.uniform(0.3, 0.9, size=shape), rng.normal(size=(STATES, ACTIONS))
    mdp, policy = random_mdp(0, 0.99), random_policy(0)
    values, visits = stepwise(mdp, policy, reward, discount, 1000)
    got = policy_value(mdp, policy, reward, discount)
    np.testing.assert_allclose(got, values, rtol=1e-11)
    np.testing.assert_allclose(occupancy(mdp, policy, discount), visits, rtol=1e-11)


@pytest.mark.parametrize("shape", [(STATES,), (STATES, ACTIONS, STATES)])
def test_every_form_of_reward(shape):
    reward = np.random.default_rng(0).normal(size=shape)
    mdp, policy = random_mdp(0), random_policy(0)
    reduced = np.tile(reward[:, None], (1, ACTIONS))
    if len(shape) == 3:
        reduced = (table(mdp.transition) * reward).sum(axis=-1)
    np.testing.assert_allclose(
        policy_value(mdp, policy, reward), policy_value(mdp, policy, reduced), rtol=1e-12
    )


@given(seed=seeds, discount=discounts)
def test_occupancy_weighs_the_reward(seed, discount):
    mdp, policy = random_mdp(seed, discount), random_policy(seed)
    visits = occupancy(mdp, policy)
    np.testing.assert_allclose(
        jnp.vdot(visits, mdp.reward), policy_return(mdp, policy), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(visits.sum(), 1 / (1 - discount), rtol=1e-9)


def test_a_discount_of_one_with_a_horizon():
    mdp, policy = random_mdp(0), random_policy(0)
    values, visits = stepwise(mdp, policy, mdp.reward, 1.0, 12)
    np.testing.assert_allclose(policy_value(mdp, policy, discount=1, horizon=12), values)
    np.testing.assert_allclose(occupancy(mdp, policy, discount=1.0, horizon=12), visits)
    np.testing.assert_allclose(occupancy(mdp, policy, discount=1, horizon=12).sum(), 12)


@every_operator
@given(seed=seeds, discount=discounts)
def test_the_regularized_value_of_the_optimal_policy_is_the_optimal_value(operator, seed, discount):
    mdp = random_mdp(seed, discount, operator=operator)
    solution = solve(mdp)
    value = policy_value(mdp, solution.policy, regularized=True)
    np.testing.assert_allclose(value, solution.value, rtol=1e-9, atol=1e-9)


@given(seed=seeds)
def test_no_other_policy_has_a_larger_regularized_value(seed):
    mdp = random_mdp(seed)
    value = policy_value(mdp, random_policy(seed + 1), regularized=True)
    assert jnp.all(value < solve(mdp).value)


def with_a_forbidden_action(**changes):
    reference = np.ones((STATES, ACTIONS))
    reference[1, 2] = 0
    return random_mdp(0, reference_policy=reference, **changes)


def test_the_regularizer_where_an_action_is_forbidden():
    mdp = with_a_forbidden_action()
    solution = solve(mdp)
    value = policy_value(mdp, solution.policy, regularized=True)
    np.testing.assert_allclose(value, solution.value, rtol=1e-11)


@pytest.mark.parametrize(
    "mdp",
    [with_a_forbidden_action, lambda: random_mdp(0, temperature=1e-4)],
    ids=["forbidden", "underflowing"],
)
def test_regularized_gradients_where_a_probability_is_zero(mdp):
    def regularized_return(mdp):
        return policy_return(mdp, solve(mdp).policy, regularized=True)

    def optimal_return(mdp):
        return mdp.initial @ solve(mdp).value

    mdp = mdp()
    assert jnp.any(solve(mdp).policy == 0)
    np.testing.assert_allclose(
        jax.grad(regularized_return)(mdp).reward, jax.grad(optimal_return)(mdp).reward, atol=1e-8
    )


@pytest.mark.parametrize("regularized", [False, True])
@pytest.mark.parametrize("horizon", [None, 5])
def test_derivatives_of_the_value(horizon, regularized):
    rng = np.random.default_rng(0)
    mdp = random_mdp(0, 0.8)

    def value(policy, reward, rows, discount):
        moved = eqx.tree_at(lambda m: m.transition.probabilities, mdp, rows)
        return policy_value(moved, policy, reward, discount, horizon, regularized)

    arguments = (
        random_policy(0),
        rng.normal(size=(STATES, ACTIONS)),
        random_rows(rng),
        rng.uniform(0.3, 0.8, size=(STATES, ACTIONS)),
    )
    check_grads(jax.jit(value), arguments, order=1, atol=1e-5, rtol=1e-5, eps=1e-5)


@pytest.mark.parametrize("horizon", [None, 5])
def test_derivatives_of_the_occupancy(horizon):
    mdp = random_mdp(0, 0.8)

    def visits(policy, rows, discount, initial):
        moved = eqx.tree_at(lambda m: (m.transition.probabilities, m.initial), mdp, (rows, initial))
        return occupancy(moved, policy, discount, horizon)

    arguments = (random_policy(0), random_rows(np.random.default_rng(0)), 0.7, mdp.initial)
    check_grads(jax.jit(visits), arguments, order=1, atol=1e-5, rtol=1e-5, eps=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon: must be a whole number.* at least 1; got 0"),
        ({"horizon": -3}, "horizon: .*got -3"),
        ({"discount": 1.0}, r"discount: must lie in \[0, 1\), got 1\.0"),
        ({"discount": 1.1, "horizon": 5}, r"discount: must lie in \[0, 1\], got 1\.1"),
        ({"discount": -0.1}, r"discount: must lie in \[0, 1\)"),
        ({"discount": np.nan, "horizon": 5}, "discount: must be finite"),
        ({"discount": np.full(3, 0.5)}, r"discount: expected shape .*, got \(3,\)"),
        ({"policy": jnp.ones((STATES, ACTIONS + 1))}, r"policy: expected shape \(5, 3\)"),
        ({"policy": jnp.full((STATES, ACTIONS), jnp.nan)}, "policy: must be finite"),
    ],
)
@pytest.mark.parametrize("function", [policy_value, policy_return, occupancy])
def test_bad_arguments_are_named(function, options, message):
    options = {"policy": random_policy(0)} | options
    with pytest.raises(InvalidInputError, match=message):
        function(random_mdp(0), **options)


@pytest.mark.parametrize(
    ("reward", "message"),
    [(np.ones(3), "reward: expected shape"), (np.full(5, np.nan), "reward: must be finite")],
)
def test_a_bad_reward_is_named(reward, message):
    with pytest.raises(InvalidInputError, match=message):
        policy_value(random_mdp(0), random_policy(0), reward)


def test_a_known_chain():
    """State 0 pays 1 and leads to state 1, which is absorbing and pays 0."""
    chain = Dense(np.array([[[0.0, 1.0]], [[0.0, 1.0]]]))
    mdp = SoftMDP(chain, np.array([1.0, 0.0]), 0.9, 1.0, np.array([1.0, 0.0]))
    policy = jnp.ones((2, 1))
    np.testing.assert_allclose(policy_value(mdp, policy), [1, 0], atol=1e-15)
    np.testing.assert_allclose(occupancy(mdp, policy), [[1], [9]], rtol=1e-14)
    np.testing.assert_allclose(occupancy(mdp, policy, discount=1, horizon=4), [[1], [3]])
