"""Reward models: what they take and give, their bound, and dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobirl.deep.networks import Architecture
from sobirl.deep.reward_model import RewardModel

KEY = jax.random.key(0)
B = 6
OBSERVATION = jax.random.normal(jax.random.key(1), (B, 3), jnp.float32)
INDEX = jnp.arange(B, dtype=jnp.int32) % 4
VECTOR = jax.random.uniform(jax.random.key(2), (B, 2), jnp.float32, -1, 1)
TINY = Architecture(widths=(8,))

discrete = {"num_actions": 4, "architecture": TINY}
continuous = {"action_size": 2, "architecture": TINY}


@pytest.mark.parametrize("members", [1, 3])
def test_discrete_actions_pick_from_a_table(members):
    model = RewardModel((3,), KEY, members=members, **discrete)
    table = model.table(OBSERVATION)
    assert model.discrete and table.shape == (members, B, 4)
    assert len({float(row[0, 0]) for row in table}) == members  # no two alike
    each = model.members(OBSERVATION, INDEX)
    np.testing.assert_array_equal(each, np.asarray(table)[:, np.arange(B), INDEX])
    np.testing.assert_allclose(model(OBSERVATION, INDEX), each.mean(0), rtol=1e-6)


@pytest.mark.parametrize("members", [1, 3])
def test_continuous_actions_are_inputs(members):
    model = RewardModel((3,), KEY, members=members, **continuous)
    each = model.members(OBSERVATION, VECTOR)
    assert not model.discrete and each.shape == (members, B)
    np.testing.assert_allclose(model(OBSERVATION, VECTOR), each.mean(0), rtol=1e-6)
    slope = jax.grad(lambda action: model(OBSERVATION, action).sum())(VECTOR)
    assert (slope != 0).any(axis=1).all()


@pytest.mark.parametrize(("kind", "action"), [(discrete, INDEX), (continuous, VECTOR)])
def test_bound(kind, action):
    free, bounded = (RewardModel((3,), KEY, bound=bound, **kind) for bound in (None, 0.5))
    reward = free(OBSERVATION, action)
    expected = 0.5 * np.tanh(np.asarray(reward))
    np.testing.assert_allclose(bounded(OBSERVATION, action), expected, rtol=1e-5)
    far = 100 * OBSERVATION
    assert np.abs(free(far, action)).max() > 1
    assert np.abs(bounded(far, action)).max() <= 0.5


def test_dropout_is_active_with_a_key_alone():
    halved = Architecture(widths=(64,), dropout=0.5)
    model = RewardModel((3,), KEY, num_actions=4, architecture=halved)
    same = model.members(OBSERVATION, INDEX)
    np.testing.assert_array_equal(same, model.members(OBSERVATION, INDEX))
    keys = jax.random.split(KEY, 2000)
    noisy = jax.jit(jax.vmap(lambda key: model.members(OBSERVATION, INDEX, key)[0]))(keys)
    assert (np.std(noisy, axis=0) > 0.01).all()
    # Linear above the layer that loses units: right on average.
    error = np.std(noisy, axis=0) / np.sqrt(len(keys))
    assert (np.abs(np.mean(noisy, axis=0) - same[0]) < 4.5 * error).all()


def test_images():
    model = RewardModel((10, 10, 4), KEY, num_actions=3)
    image = jnp.ones((2, 10, 10, 4), jnp.uint8)
    assert model.table(image).shape == (1, 2, 3)
    np.testing.assert_array_equal(model.table(image), model.table(image.astype(jnp.float32) / 255))
