"""Where the time goes: the parts add up, and compilation is found wherever it happens."""

import time

import jax
import jax.numpy as jnp
import numpy as np

from sobirl.runs.clock import Clock


def test_the_parts_add_up():
    clock = Clock(started=time.perf_counter() - 3.0)
    with clock.computing():
        jax.jit(lambda x: jnp.sin(x) + 12345.678)(1.0).block_until_ready()
    seconds = clock.seconds()
    wall = time.perf_counter() - clock.started
    assert seconds.compile > 0
    assert seconds.run >= 0
    assert seconds.other >= 3.0
    np.testing.assert_allclose(seconds.wall, seconds.compile + seconds.run + seconds.other)
    assert 3.0 <= seconds.wall <= wall


def test_compilation_outside_is_no_running():
    """Figures compile too: that is neither running nor the rest."""
    clock = Clock()
    with clock.computing():
        pass
    before = clock.seconds()
    jax.jit(lambda x: jnp.cos(x) + 54321.987)(1.0).block_until_ready()
    after = clock.seconds()
    assert after.compile > before.compile
    assert after.run == before.run


def test_spans_that_overlap_count_once():
    from sobirl.runs.clock import _covered

    assert _covered([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0), (5.2, 5.4)]) == 4.0
