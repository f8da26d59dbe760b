"""Continuous SAC: the squashed density, and one-step problems with known answers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probes import trained
from sobirl.deep.continuous_sac import ContinuousSAC
from sobirl.experience.replay import Transitions

compiled = eqx.filter_jit
SETTINGS = {"widths": (64,), "learning_rate": 3e-3, "target_rate": 0.05}


def bandit(reward, actions=64, size=1, seed=0):
    """One state, an episode of one step, actions spread over the cube."""
    rng = np.random.default_rng(seed)
    action = rng.uniform(-1, 1, (actions, size)).astype(np.float32)
    ones = np.ones(actions, np.float32)
    return Transitions(
        observation=jnp.asarray(ones[:, None]),
        action=jnp.asarray(action),
        reward=jnp.asarray(np.asarray(reward(action), np.float32)),
        terminated=jnp.asarray(ones > 0),
        next_observation=jnp.asarray(ones[:, None]),
        weight=jnp.asarray(ones),
    )


def test_density_sums_to_one_and_agrees_with_the_samples():
    with jax.enable_x64(True):
        follower = ContinuousSAC((1,), widths=(8,), action_size=1)
        state = compiled(follower.init)(jax.random.key(1))
        grid = np.linspace(-1, 1, 20_001)[1:-1, None]
        log_prob = compiled(follower.log_prob)
        states = jnp.asarray(np.ones_like(grid))
        density = np.exp(log_prob(state, states, jnp.asarray(grid)))
        assert np.trapezoid(density, grid[:, 0]) == pytest.approx(1, abs=2e-3)
        action, said = compiled(follower.act)(state, states, jax.random.key(2))
        assert np.abs(action).max() < 1
        np.testing.assert_allclose(log_prob(state, states, action), said, atol=1e-6)


def test_gradient_of_the_policy_loss_against_finite_differences():
    with jax.enable_x64(True):
        follower = ContinuousSAC((1,), widths=(4,), action_size=2)
        actor, critic = compiled(follower.networks)(jax.random.key(0))
        batch = jax.tree.map(
            lambda leaf: (
                jnp.asarray(np.asarray(leaf, float)) if leaf.dtype == jnp.float32 else leaf
            ),
            bandit(lambda a: a.sum(1), 8, 2),
        )

        @jax.jit
        def loss(bias):
            moved = jax.tree.map(lambda leaf: leaf + bias, actor)
            return follower.policy_loss(moved, critic, batch, jnp.array(0.3), jax.random.key(1))[0]

        numeric = (loss(1e-5) - loss(-1e-5)) / 2e-5
        assert jax.jit(jax.grad(loss))(0.0) == pytest.approx(float(numeric), rel=1e-6)


def test_best_action_of_a_quadratic_reward():
    batch = bandit(lambda a: -4 * (a[:, 0] - 0.3) ** 2)
    follower = ContinuousSAC((1,), temperature=0.1, action_size=1, **SETTINGS)
    state, _ = trained(follower, batch, 2000)
    states = jnp.asarray(np.ones((2000, 1), np.float32))
    action, _ = compiled(follower.act)(state, states, jax.random.key(0))
    assert compiled(follower.mode)(state, states)[0, 0] == pytest.approx(0.3, abs=0.06)
    assert np.std(action) == pytest.approx(np.sqrt(0.1 / 8), rel=0.25)  # exp(r/τ) is Gaussian


def test_temperature_reaches_the_target_entropy():
    batch = bandit(lambda a: -4 * (a[:, 0] - 0.3) ** 2)
    follower = ContinuousSAC((1,), action_size=1, initial_temperature=0.3, **SETTINGS)
    state, metrics = trained(follower, batch, 3000)
    assert metrics["entropy"] == pytest.approx(-1, abs=0.2)
    assert state.updates == 3000


def test_log_densities_far_out_are_finite():
    follower = ContinuousSAC((1,), widths=(4,), action_size=1)
    state = compiled(follower.init)(jax.random.key(0))
    actor = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf) + 50), state.actor)
    far = eqx.tree_at(lambda s: s.actor, state, actor)
    states = jnp.asarray(np.ones((100, 1), np.float32))
    _, log_prob = compiled(follower.act)(far, states, jax.random.key(0))
    assert np.isfinite(log_prob).all()
    edges = jnp.array([[-1.0], [1.0]], jnp.float32)
    assert np.isfinite(compiled(follower.log_prob)(far, states[:2], edges)).all()
