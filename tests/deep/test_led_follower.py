"""What the leader's estimates are made with: the networks, or a mean of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from sobirl.deep.leader_critic import LeaderCritic
from sobirl.deep.led_follower import LedFollower
from sobirl.deep.offer import Offer
from sobirl.deep.soft_q import SoftQLearning
from sobirl.experience.replay import Transitions

FOLLOWER = SoftQLearning((2,), 0.5, 0.1, num_actions=2, widths=())
CRITIC = LeaderCritic((2,), 0.5, num_actions=2)
OFFER = Offer(jnp.zeros(()), jnp.ones(()), lambda x, s, a: 0.0 * a, lambda s, a, n, x: s[:, 0])
BATCH = Transitions(
    observation=jnp.eye(2),
    action=jnp.array([0, 1]),
    reward=jnp.ones(2),
    terminated=jnp.zeros(2, bool),
    next_observation=jnp.eye(2),
    weight=jnp.ones(2),
)


def weights(pair):
    return [np.asarray(leaf) for leaf in jax.tree.leaves((pair[0].critic, pair[1]))]


def test_a_mean_follows_what_is_learned():
    led = LedFollower(FOLLOWER, CRITIC, averaged=4)
    state = led.init(jax.random.key(0))
    first = weights(state.steady)
    update = jax.jit(led.update)
    expected = first
    for step in range(3):
        state, _ = update(state, BATCH, OFFER, jax.random.key(step))
        latest = weights((state.follower, state.critic.model))
        expected = [old + (new - old) / 4 for old, new in zip(expected, latest, strict=True)]
    for found, mean, begun in zip(weights(state.steady), expected, first, strict=True):
        np.testing.assert_allclose(found, mean, atol=1e-6)
        assert not np.array_equal(found, begun)
    cooler = led.with_temperature(state, jnp.float32(0.05))
    assert float(FOLLOWER.temperature_of(cooler.steady[0])) == pytest.approx(0.05)


def test_without_one_it_is_the_latest():
    state = LedFollower(FOLLOWER, CRITIC).init(jax.random.key(0))
    assert state.steady[0] is state.follower and state.steady[1] is state.critic.model


def test_bad_settings():
    with pytest.raises(sb.InvalidInputError, match="averaged: must be at least 1, got 0"):
        LedFollower(FOLLOWER, CRITIC, averaged=0)
