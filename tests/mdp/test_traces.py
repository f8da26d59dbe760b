"""Discounted sums along trajectories against plain loops."""

import jax.numpy as jnp
import numpy as np
import pytest

from sobirl.mdp.traces import discount_weights, eligibility_trace, return_to_go

ENVS, STEPS = 3, 12


@pytest.fixture
def paths():
    """Values, discounts (some 0), episode beginnings and what came before."""
    rng = np.random.default_rng(0)
    value = rng.normal(size=(ENVS, STEPS))
    discount = rng.choice([0.0, 0.5, 0.9], size=(ENVS, STEPS))
    first = rng.uniform(size=(ENVS, STEPS)) < 0.3
    first[0, 0], first[1, 0] = True, False
    return value, discount, first, rng.normal(size=ENVS)


def test_discount_weights(paths):
    _, discount, first, start = paths
    expected = np.empty((ENVS, STEPS))
    for n in range(ENVS):
        weight = start[n]
        for t in range(STEPS):
            weight = 1.0 if first[n, t] else weight
            expected[n, t] = weight
            weight *= discount[n, t]
    actual = discount_weights(jnp.asarray(discount), jnp.asarray(first), jnp.asarray(start))
    np.testing.assert_allclose(actual, expected, rtol=1e-14)


def test_eligibility_trace(paths):
    value, discount, first, start = paths
    expected = np.empty((ENVS, STEPS))
    for n in range(ENVS):
        before = start[n]
        for t in range(STEPS):
            before = 0.0 if first[n, t] else before
            expected[n, t] = before + value[n, t]
            before = discount[n, t] * expected[n, t]
    actual = eligibility_trace(*(jnp.asarray(a) for a in paths))
    np.testing.assert_allclose(actual, expected, rtol=1e-13)
    assert expected[0, 0] == value[0, 0]
    assert expected[1, 0] == value[1, 0] + start[1]


def test_return_to_go(paths):
    value, discount, first, _ = paths
    expected = np.empty((ENVS, STEPS))
    for n in range(ENVS):
        for t in range(STEPS):
            weight, total = 1.0, 0.0
            for later in range(t, STEPS):
                if later > t and first[n, later]:
                    break
                total += weight * value[n, later]
                weight *= discount[n, later]
            expected[n, t] = total
    actual = return_to_go(jnp.asarray(value), jnp.asarray(discount), jnp.asarray(first))
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)


def test_the_trace_and_the_return_are_each_others_transpose(paths):
    """Σ_t e_t(v) u_t = Σ_t v_t G_t(u): the past of one is the future of the other."""
    value, discount, first, _ = (jnp.asarray(a) for a in paths)
    other = jnp.asarray(np.random.default_rng(1).normal(size=(ENVS, STEPS)))
    trace = eligibility_trace(value, discount, first, jnp.zeros(ENVS))
    np.testing.assert_allclose(
        jnp.vdot(trace, other), jnp.vdot(value, return_to_go(other, discount, first)), rtol=1e-13
    )
