"""The tenant's building as an environment: what it pays, and how heat moves."""

import jax
import jax.numpy as jnp
import numpy as np

from sobirl.problems.building_tenant import UNIT, Tenant, designer
from sobirl.problems.building_thermal import DEVICES, designer_reward, exchange

X = {"insulation": jnp.array([0.3, -0.5, 0.1, 0.8]), "coupling": jnp.array([-0.4, 0.2, 0.6, 0.0])}
ZONES, ACTION = np.array([4.0, -3, 2, 6], np.float32), np.array([-2.0, 5], np.float32)


def test_rewards_are_those_of_both_levels():
    state = jnp.asarray(ZONES), jnp.int32(0)
    (_, count), _, own, ended, cut = Tenant(X).step(state, jnp.asarray(ACTION), jax.random.key(0))
    cost = np.array([8, 1, 5, 6]) @ ZONES**2 + 0.01 * ACTION @ ACTION
    np.testing.assert_allclose(own, -cost / UNIT, rtol=1e-5)
    assert count == 1 and not ended and not cut
    told = designer(jnp.asarray(ZONES) / 10, jnp.asarray(ACTION), jnp.zeros(4), X)
    np.testing.assert_allclose(
        told, designer_reward(X, jnp.asarray(ZONES), jnp.asarray(ACTION)) / UNIT, rtol=1e-5
    )


def test_heat_moves_as_the_density_says():
    tenant, noise = Tenant(noise=0.5).with_x(X), 0.5
    state = jnp.asarray(ZONES), jnp.int32(29)
    keys = jax.random.split(jax.random.key(1), 4000)
    step = jax.jit(jax.vmap(lambda key: tenant.step(state, jnp.asarray(ACTION), key)))
    _, shown, _, ended, cut = step(keys)
    assert not ended.any() and cut.all()  # the time is up, which is no end
    after = 10 * np.asarray(shown)
    mean = np.asarray(exchange(X)) @ ZONES + DEVICES @ ACTION
    assert (np.abs(after.mean(0) - mean) < 4 * noise / np.sqrt(len(keys))).all()
    np.testing.assert_allclose(after.std(0), noise, rtol=0.05)

    def score(after):
        seen = jnp.asarray(ZONES) / 10
        log_prob = lambda x: tenant.log_prob(after, seen, jnp.asarray(ACTION), x)  # noqa: E731
        return jax.grad(log_prob)(X)["insulation"]

    scores = np.asarray(jax.jit(jax.vmap(score))(shown))
    slope = jax.jacobian(lambda x: exchange(x) @ jnp.asarray(ZONES))(X)["insulation"]
    expected = np.linalg.norm(np.asarray(slope), axis=0) / noise  # the root of the information
    assert (np.abs(scores.mean(0)) < 4 * expected / np.sqrt(len(keys))).all()
    np.testing.assert_allclose(scores.std(0), expected, rtol=0.05)
