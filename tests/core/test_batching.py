import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobirl.core.batching import sequential_on_cpu


@pytest.mark.parametrize("in_axes", [(0, None), (None, 0), (0, 0), (1, 0)])
def test_sequential_map_takes_any_mixture_of_batched_arguments(in_axes):
    def function(x, scale):
        return {"product": x * scale, "sum": jnp.sum(x)}

    shapes = {0: (4, 3), 1: (3, 4), None: (3,)}
    x = jnp.arange(float(np.prod(shapes[in_axes[0]]))).reshape(shapes[in_axes[0]])
    scale = jnp.arange(4.0) if in_axes[1] == 0 else jnp.asarray(2.0)
    got = jax.vmap(sequential_on_cpu(function), in_axes)(x, scale)
    expected = jax.vmap(function, in_axes)(x, scale)
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_sequential_map_nests():
    x = jnp.arange(24.0).reshape(2, 3, 4)
    nested = jax.vmap(jax.vmap(sequential_on_cpu(lambda x: jnp.sum(x))))
    np.testing.assert_array_equal(nested(x), x.sum(axis=-1))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="batched elsewhere")
def test_each_element_of_a_batch_stops_at_its_own_time():
    runs = []

    def body(count):
        jax.debug.callback(lambda: runs.append(1))
        return count + 1

    def count_to(limit):
        return jax.lax.while_loop(lambda count: count < limit, body, jnp.zeros_like(limit))

    counts = jax.vmap(sequential_on_cpu(count_to))(jnp.array([1, 2, 10]))
    jax.effects_barrier()
    np.testing.assert_array_equal(counts, [1, 2, 10])
    assert len(runs) == 13
