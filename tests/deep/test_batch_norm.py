"""Batch normalization: by a batch, by what was collected, and inside the reward network."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobirl.deep.batch_norm import BatchNorm
from sobirl.deep.networks import Architecture, Network
from sobirl.deep.reward_model import RewardModel
from sobirl.testing import same_bits

KEY = jax.random.key(0)
HIDDEN = np.random.default_rng(0).normal(size=(16, 5, 5, 2)) * [2, 20] + 3
HIDDEN = jnp.asarray(HIDDEN.astype(np.float32))
NORMALIZED = Architecture(((3, 3, 2),), (4,), normalized=True)
ACTIONS = jnp.zeros(8, jnp.int32)


SCREENS = jnp.asarray(np.random.default_rng(1).integers(0, 256, (8, 11, 11, 2), np.uint8))


@eqx.filter_jit
def updated(network, *inputs):
    return network.trained(*inputs, key=KEY)[1]


@eqx.filter_jit
def batched(network, key=None):
    return network.batched(SCREENS, key=key)


@eqx.filter_jit
def by_batch(norm, hidden=HIDDEN):
    return jax.vmap(lambda one: norm(one, "batch"), axis_name="batch")(hidden)


@eqx.filter_jit
def met(norm, hidden=HIDDEN):
    return jax.vmap(
        lambda one: norm.update_statistics(one, "batch"), axis_name="batch", out_axes=None
    )(hidden)


def test_a_batch_by_its_own_statistics():
    """Against the library's, whose normalization it is."""
    found = by_batch(BatchNorm(2))
    np.testing.assert_allclose(found.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=(0, 1, 2)), 1, atol=1e-3)
    theirs, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(2, "batch", mode="batch")
    channels_first = jnp.moveaxis(HIDDEN, -1, 1)
    expected, _ = jax.vmap(theirs, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(
        channels_first, state
    )
    np.testing.assert_allclose(found, jnp.moveaxis(expected, 1, -1), atol=1e-4)


def test_statistics_are_collected():
    norm = BatchNorm(2)
    for _ in range(150):
        norm = met(norm)
    np.testing.assert_allclose(norm.mean, HIDDEN.mean(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(norm.variance, HIDDEN.var(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(
        jax.vmap(lambda one: norm(one, None))(HIDDEN), by_batch(norm), atol=1e-3
    )


def test_statistics_have_no_gradient_but_the_batch_has_one():
    norm = met(BatchNorm(2))
    slope = jax.grad(lambda norm: jnp.sum(jax.vmap(lambda one: norm(one, None))(HIDDEN) ** 2))(norm)
    assert not slope.mean.any() and not slope.variance.any()
    assert slope.scale.all() and slope.offset.all()
    # A shift of the whole batch changes nothing, which only a gradient through its mean can tell.
    shift = jax.grad(lambda by: jnp.sum(by_batch(norm, HIDDEN + by) ** 3))(0.0)
    assert abs(shift) < 1e-2


def test_a_network_uses_what_it_has_met():
    network = Network((11, 11, 2), 3, KEY, NORMALIZED)
    before = batched(network)
    for _ in range(150):
        network = updated(network, SCREENS)
    after = batched(network)
    assert not np.allclose(before, after, atol=1e-2)
    # In training the batch's own statistics count, which these have become.
    np.testing.assert_allclose(batched(network, key=KEY), after, atol=1e-3)


@pytest.mark.parametrize("members", [1, 2])
def test_members_of_a_reward_meet_it_too(members):
    model = RewardModel((11, 11, 2), KEY, 3, members=members, architecture=NORMALIZED)
    met_it = updated(model, SCREENS, ACTIONS)
    for old, new in zip(model.ensemble.members, met_it.ensemble.members, strict=True):
        assert not np.allclose(old.normalizations[0].mean, new.normalizations[0].mean)
    plain = RewardModel((3,), KEY, 3)
    assert same_bits(updated(plain, jnp.ones((8, 3)), ACTIONS), plain)
