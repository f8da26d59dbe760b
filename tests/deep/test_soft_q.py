"""Soft Q-learning: a policy that is nothing but the softmax of its critic."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probes import every_transition, one_step, random_process, solved_process, trained
from sobirl.deep.soft_q import SoftQLearning

SETTINGS = {"widths": (64,), "learning_rate": 3e-3, "target_rate": 0.05}
KEY = jax.random.key(0)
EYE = jnp.asarray(np.eye(4, dtype=np.float32))
compiled = eqx.filter_jit


def test_the_critics_learn_the_soft_solution():
    batch, solution = solved_process(0.8, 0.3)
    state, _ = trained(SoftQLearning((4,), 0.8, 0.3, num_actions=3, **SETTINGS), batch, 3000)
    q = np.asarray(compiled(state.critic)(EYE))
    assert np.abs(q - solution.q).max() < 0.05


def test_the_policy_is_the_softmax_of_the_lower_critic():
    follower = SoftQLearning((4,), temperature=0.4, num_actions=3, widths=(8,))
    state, states = follower.init(KEY), EYE
    lower = np.asarray(compiled(state.critic)(states)).min(axis=0)
    expected = np.exp(lower / 0.4) / np.exp(lower / 0.4).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        np.exp(compiled(follower.log_policy)(state, states)), expected, rtol=1e-5
    )
    hotter = eqx.tree_at(lambda s: s.log_temperature, state, jnp.array(np.log(40.0), jnp.float32))
    assert np.abs(np.exp(compiled(follower.log_policy)(hotter, states)) - 1 / 3).max() < 0.01


def test_an_update_is_one_of_the_soft_bellman_equation():
    """Against the loss that is written out with NumPy, by the direction of Adam's first step."""
    follower = SoftQLearning((4,), 0.8, 0.3, num_actions=3, widths=(8,), learning_rate=1e-3)
    batch, state = every_transition(*random_process()), follower.init(KEY)
    _, metrics = compiled(follower.update)(state, batch, None, KEY)
    lower = np.asarray(compiled(state.target)(batch.next_observation)).min(axis=0)
    after = np.where(batch.terminated, 0, 0.3 * np.log(np.exp(lower / 0.3).sum(axis=1)))
    q = np.asarray(compiled(state.critic)(batch.observation))[:, np.arange(12), batch.action]
    expected = 0.5 * ((q - (np.asarray(batch.reward) + 0.8 * after)) ** 2).sum(axis=0).mean()
    assert metrics["critic_loss"] == pytest.approx(float(expected), rel=1e-4)


def test_values_that_are_forgotten_take_the_policy_with_them():
    follower = SoftQLearning((1,), num_actions=2, initial_temperature=0.3, **SETTINGS)
    state, _ = trained(follower, one_step([1.0, 0.0]), 500)
    fresh = follower.forget_values(state, KEY)
    assert fresh.log_temperature == state.log_temperature and fresh.updates == 500
    difference = fresh.critic(jnp.ones((1, 1)))[0, 0] - follower.init(KEY).critic(jnp.ones((1, 1)))
    assert np.abs(difference[0]).max() < 1e-6
    moments = jax.tree.leaves(fresh.optimizers[0])
    assert not any(np.any(np.asarray(leaf)) for leaf in moments)
