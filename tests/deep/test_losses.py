"""The losses of soft followers: their formulas in NumPy, and their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobirl.deep import losses

K, B, A = 2, 5, 3
RNG = np.random.default_rng(0)
Q = RNG.normal(size=(B, A))
LOGITS = RNG.normal(size=(B, A))
LOG_POLICY = LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))
TAKEN = RNG.normal(size=(K, B))
ONE, OTHER = RNG.normal(size=(2, B))
WEIGHT = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
TEMPERATURE = 0.3
COUNTS = WEIGHT > 0


@pytest.fixture(autouse=True)
def double_precision(single_precision):
    with jax.enable_x64(True):
        yield


def slope(function, x):
    """The derivative by central differences, entry by entry."""
    found = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = 1e-5
        found[index] = (function(jnp.array(x + step)) - function(jnp.array(x - step))) / 2e-5
    return found


def check_gradient(function, x):
    x = np.asarray(x, np.float64)
    found = jax.grad(function)(jnp.array(x))
    np.testing.assert_allclose(found, slope(jax.jit(function), x), rtol=1e-7, atol=1e-9)
    return np.asarray(found)


def test_soft_value():
    policy = np.exp(LOG_POLICY)
    expected = (policy * (Q - TEMPERATURE * LOG_POLICY)).sum(1)
    value = losses.soft_value(jnp.array(Q), jnp.array(LOG_POLICY), jnp.array(TEMPERATURE))
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    # The soft-optimal policy makes it the log-sum-exp of Q.
    best = jax.nn.log_softmax(Q / TEMPERATURE)
    value = losses.soft_value(jnp.array(Q), best, jnp.array(TEMPERATURE))
    expected = TEMPERATURE * np.log(np.exp(Q / TEMPERATURE).sum(1))
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    maximum = losses.soft_maximum(jnp.array(Q), TEMPERATURE)
    np.testing.assert_allclose(maximum, expected, rtol=1e-12)
    cold = losses.soft_maximum(jnp.array(Q), 1e-4)  # exp(Q/τ) itself would overflow
    np.testing.assert_allclose(cold, Q.max(axis=1), atol=1.2e-4)


def test_target_of_the_critics():
    ended = np.array([True, False, False, True, False])

    def target(value):
        return losses.td_target(jnp.array(ONE), jnp.array(ended), value, 0.9)

    np.testing.assert_allclose(target(jnp.array(OTHER)), ONE + 0.9 * np.where(ended, 0, OTHER))
    assert np.all(jax.grad(lambda value: target(value).sum())(jnp.array(OTHER)) == 0)
    hopeless = jnp.where(ended, jnp.nan, OTHER)  # what follows an end is not looked at
    np.testing.assert_array_equal(target(hopeless), target(jnp.array(OTHER)))


def test_critic_loss():
    def loss(q):
        return losses.critic_loss(q, jnp.array(ONE), jnp.array(WEIGHT))

    expected = 0.5 * ((TAKEN - ONE) ** 2).sum(0)[COUNTS].mean()
    assert loss(jnp.array(TAKEN)) == pytest.approx(expected, rel=1e-12)
    gradient = check_gradient(loss, TAKEN)
    np.testing.assert_allclose(gradient, WEIGHT * (TAKEN - ONE) / 3, rtol=1e-12)


def test_actor_loss_of_discrete_actions():
    def loss(logits, q=Q, temperature=TEMPERATURE):
        log_policy = jax.nn.log_softmax(logits)
        return losses.actor_loss(
            jnp.asarray(q), log_policy, jnp.asarray(temperature), jnp.array(WEIGHT)
        )

    policy = np.exp(LOG_POLICY)
    each = (policy * (TEMPERATURE * LOG_POLICY - Q)).sum(1)
    assert loss(jnp.array(LOGITS)) == pytest.approx(each[COUNTS].mean(), rel=1e-12)
    gradient = check_gradient(loss, LOGITS)
    assert np.all(gradient[~COUNTS] == 0)
    # It has its minimum at the softmax of Q/τ.
    np.testing.assert_allclose(jax.grad(loss)(jnp.array(Q / TEMPERATURE)), 0, atol=1e-12)
    held = jax.grad(loss, (1, 2))(jnp.array(LOGITS), jnp.array(Q), jnp.array(TEMPERATURE))
    assert not any(np.any(leaf) for leaf in held)


def test_actor_loss_of_sampled_actions():
    def loss(log_prob, q, temperature):
        return losses.sampled_actor_loss(q, log_prob, temperature, jnp.array(WEIGHT))

    arguments = jnp.array(ONE), jnp.array(OTHER), jnp.array(TEMPERATURE)
    expected = (TEMPERATURE * ONE - OTHER)[COUNTS].mean()
    assert loss(*arguments) == pytest.approx(expected, rel=1e-12)
    check_gradient(lambda log_prob: loss(log_prob, *arguments[1:]), ONE)
    check_gradient(lambda q: loss(arguments[0], q, arguments[2]), OTHER)  # actions move q
    assert jax.grad(loss, 2)(*arguments) == 0


def test_temperature_loss():
    def loss(log_temperature, entropy=ONE):
        return losses.temperature_loss(
            log_temperature, jnp.asarray(entropy), 0.7, jnp.array(WEIGHT)
        )

    gap = (ONE - 0.7)[COUNTS].mean()
    assert loss(jnp.array(-0.4)) == pytest.approx(-0.4 * gap, rel=1e-12)
    assert check_gradient(loss, -0.4) == pytest.approx(gap, rel=1e-12)
    assert not np.any(jax.grad(loss, 1)(jnp.array(-0.4), jnp.array(ONE)))


@pytest.mark.parametrize("weight", [np.zeros(B), WEIGHT])
def test_what_has_no_weight_does_not_count(weight):
    wild = np.where(weight > 0, ONE, 1e9)
    mean = losses.weighted_mean(jnp.array(wild), jnp.array(weight))
    assert mean == pytest.approx(ONE[weight > 0].mean() if weight.any() else 0.0, rel=1e-12)
