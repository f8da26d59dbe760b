"""Continuous SAC: the squashed density, and one-step problems with known answers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probes import trained
from sobirl.deep.continuous_sac import ContinuousSAC
from sobirl.experience.replay import Transitions

SETTINGS = {"widths": (64,), "learning_rate": 3e-3, "target_rate": 0.05}


def bandit(reward, actions=256, size=1, seed=0):
    """One state, an episode of one step, actions spread over the cube."""
    rng = np.random.default_rng(seed)
    action = rng.uniform(-1, 1, (actions, size)).astype(np.float32)
    state = jnp.ones((actions, 1), jnp.float32)
    return Transitions(
        observation=state,
        action=jnp.array(action),
        reward=jnp.array(reward(action), jnp.float32),
        terminated=jnp.ones(actions, bool),
        next_observation=state,
        weight=jnp.ones(actions, jnp.float32),
    )


def test_density_sums_to_one_and_agrees_with_the_samples():
    with jax.enable_x64(True):
        follower = ContinuousSAC((1,), widths=(8,), action_size=1)
        state = follower.init(jax.random.key(1))
        grid = jnp.linspace(-1, 1, 20_001)[1:-1, None]
        density = np.exp(follower.log_prob(state, jnp.ones((len(grid), 1)), grid))
        assert np.trapezoid(density, grid[:, 0]) == pytest.approx(1, abs=2e-3)
        states = jnp.ones((1000, 1))
        action, log_prob = follower.act(state, states, jax.random.key(2))
        assert np.abs(action).max() < 1
        np.testing.assert_allclose(follower.log_prob(state, states, action), log_prob, atol=1e-6)


def test_gradient_of_the_policy_loss_against_finite_differences():
    with jax.enable_x64(True):
        follower = ContinuousSAC((1,), widths=(4,), action_size=2)
        actor, critic = follower.networks(jax.random.key(0))
        batch = jax.tree.map(
            lambda leaf: leaf.astype(float) if leaf.dtype == jnp.float32 else leaf,
            bandit(lambda a: a.sum(1), 8, 2),
        )

        def loss(bias):
            moved = jax.tree.map(lambda leaf: leaf + bias, actor)
            return follower.policy_loss(moved, critic, batch, jnp.array(0.3), jax.random.key(1))[0]

        numeric = (loss(1e-5) - loss(-1e-5)) / 2e-5
        assert jax.grad(loss)(0.0) == pytest.approx(float(numeric), rel=1e-6)


def test_best_action_of_a_quadratic_reward():
    batch = bandit(lambda a: -4 * (a[:, 0] - 0.3) ** 2)
    follower = ContinuousSAC((1,), temperature=0.1, action_size=1, **SETTINGS)
    state, _ = trained(follower, batch, 2000)
    states = jnp.ones((2000, 1), jnp.float32)
    action, _ = follower.act(state, states, jax.random.key(0))
    assert follower.mode(state, states[:1])[0, 0] == pytest.approx(0.3, abs=0.06)
    assert np.std(action) == pytest.approx(np.sqrt(0.1 / 8), rel=0.25)  # exp(r/τ) is Gaussian


def test_temperature_reaches_the_target_entropy():
    batch = bandit(lambda a: -4 * (a[:, 0] - 0.3) ** 2)
    follower = ContinuousSAC((1,), action_size=1, initial_temperature=0.3, **SETTINGS)
    state, metrics = trained(follower, batch, 3000)
    assert metrics["entropy"] == pytest.approx(-1, abs=0.2)
    assert state.updates == 3000


def test_log_densities_far_out_are_finite():
    follower = ContinuousSAC((1,), widths=(4,), action_size=1)
    state = follower.init(jax.random.key(0))
    far = eqx.tree_at(lambda s: s.actor, state, jax.tree.map(lambda leaf: leaf + 50, state.actor))
    _, log_prob = follower.act(far, jnp.ones((100, 1), jnp.float32), jax.random.key(0))
    assert np.isfinite(log_prob).all()
    edges = jnp.array([[-1.0], [1.0]], jnp.float32)
    assert np.isfinite(follower.log_prob(far, jnp.ones((2, 1), jnp.float32), edges)).all()
