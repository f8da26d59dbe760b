"""Networks: shapes, the scaling of observations, dropout, and what a network refuses."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobirl.deep.networks import (
    MINATAR,
    NATURE,
    REWARD_CNN,
    Architecture,
    Ensemble,
    Network,
    architecture_for,
    convolve,
    scaled,
)

KEY = jax.random.key(0)
ONES = jnp.asarray(np.ones(2, np.float32))
output = eqx.filter_jit(lambda network, state, *more, **options: network(state, *more, **options))


@pytest.mark.parametrize(
    ("shape", "architecture"),
    [
        ((5,), None),
        ((5, 3), None),
        ((10, 10, 4), MINATAR),
        ((84, 84, 4), NATURE),
        ((84, 84, 4), REWARD_CNN),
    ],
)
def test_outputs(shape, architecture):
    network = Network(shape, 3, KEY, architecture)
    assert output(network, jnp.zeros(shape, jnp.uint8)).shape == (3,)
    assert output(network, jnp.zeros(shape, jnp.float32)).dtype == jnp.float32


def test_the_usual_architectures():
    assert architecture_for((3,)).convolutions == ()
    assert architecture_for((10, 10, 4)) == MINATAR
    assert architecture_for((84, 84, 4)) == NATURE
    # The size of DQN's network for six actions (Mnih et al. 2015).
    leaves = jax.tree.leaves(eqx.filter_eval_shape(Network, (84, 84, 4), 6, KEY, NATURE))
    assert sum(leaf.size for leaf in leaves) == 1_687_206


def test_bytes_and_their_share_of_255_look_alike():
    screen = np.random.default_rng(0).integers(0, 256, (84, 84, 4), np.uint8)
    network = Network(screen.shape, 3, KEY, NATURE)
    shares = jnp.asarray(np.float32(screen / 255))
    np.testing.assert_allclose(output(network, screen), output(network, shares), rtol=1e-5)
    np.testing.assert_array_equal(scaled(jnp.array([0, 255], jnp.uint8)), [0, 1])
    np.testing.assert_array_equal(scaled(jnp.array([-3.0, 255.0])), [-3, 255])


@pytest.mark.parametrize(
    ("channels", "width", "kernel", "stride"), [(4, 5, 3, 1), (2, 3, 4, 2), (3, 2, 7, 3)]
)
def test_convolutions_are_what_the_library_says(channels, width, kernel, stride):
    layer = eqx.nn.Conv2d(channels, width, kernel, stride, key=KEY)
    image = np.random.default_rng(0).normal(size=(11, 9, channels)).astype(np.float32)
    ours = eqx.filter_jit(convolve)(layer, image)
    theirs = eqx.filter_jit(layer)(np.moveaxis(image, -1, 0))
    np.testing.assert_allclose(ours, np.moveaxis(theirs, 0, -1), atol=1e-5)


def test_further_inputs_matter():
    network = Network((2,), 1, KEY, extras=1)
    low, high = (output(network, ONES, jnp.array([a], jnp.float32)) for a in (-1.0, 1.0))
    assert low != high


def test_dropout_needs_a_key_and_keeps_the_mean():
    network = Network((2,), 1, KEY, Architecture(widths=(512,), dropout=0.5))
    dropped = eqx.filter_jit(
        lambda key: jax.vmap(lambda key: network(ONES, key=key))(jax.random.split(key, 4000))
    )
    outputs = dropped(KEY)
    assert np.std(outputs) > 0
    error = float(3 * np.std(outputs) / np.sqrt(len(outputs)))
    assert np.mean(outputs) == pytest.approx(float(output(network, ONES)[0]), abs=error)
    assert output(network, ONES) == output(network, ONES)


def test_members_of_an_ensemble_differ():
    ensemble = Ensemble(3, lambda key: Network((2,), 4, key), KEY)
    outputs = np.asarray(output(ensemble, jnp.asarray(np.ones((5, 2), np.float32))))
    assert outputs.shape == (3, 5, 4)
    assert not np.allclose(outputs[0], outputs[1])
    np.testing.assert_allclose(outputs[2, 0], output(ensemble.members[2], ONES), rtol=1e-5)


def test_a_pooled_network_does_not_mind_where_something_is():
    architecture = Architecture(((8, 3, 1),), (16,), pooled=True)
    pooled, flat = (
        Network((10, 9, 2), 3, KEY, architecture._replace(pooled=pooled))
        for pooled in (True, False)
    )
    assert (pooled.layers[0].in_features, flat.layers[0].in_features) == (8, 8 * 8 * 7)
    board = np.zeros((10, 9, 2), np.float32)
    here, there = board.copy(), board.copy()
    here[2, 3], there[6, 5] = 1, 1  # away from the edges, where windows see less of it
    np.testing.assert_allclose(output(pooled, here), output(pooled, there), rtol=1e-5)
    assert not np.allclose(output(flat, here), output(flat, there))
    assert not np.allclose(output(pooled, here), output(pooled, board))
    assert not Network((4,), 3, KEY, architecture._replace(convolutions=())).pooled
