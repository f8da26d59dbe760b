"""Frames that are seen together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobirl.core import InvalidInputError
from sobirl.experience import first_frames, next_frames, seen, stack_frames


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray], ids=["NumPy", "JAX"])
def test_the_latest_frames(kind):
    """Of two environments, whose observations are their number and the time."""

    def at(time):
        return kind(np.array([[0, time], [1, time]], np.float32))

    frames = first_frames(at(0), 3)
    for time in (1, 2):
        frames = next_frames(frames, at(time))
    assert isinstance(frames, jax.Array) == (kind is jnp.asarray)
    np.testing.assert_array_equal(frames[:, :, 1], [[0, 1, 2]] * 2)
    frames = next_frames(frames, at(3))
    np.testing.assert_array_equal(frames[:, :, 1], [[1, 2, 3]] * 2)
    np.testing.assert_array_equal(frames[:, :, 0], [[0] * 3, [1] * 3])
    np.testing.assert_array_equal(seen(frames)[:, 1], [[1, 2, 3]] * 2)  # (N,*obs,k)


def test_a_single_frame_is_seen_as_it_is():
    observation = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(seen(first_frames(observation, 1)), observation)


@pytest.mark.parametrize("k", [0, 4])
def test_a_stack_needs_as_many_frames(k):
    with pytest.raises(InvalidInputError, match=f"k: must be between 1 and the 3 frames, got {k}"):
        stack_frames(np.zeros((2, 3, 1)), k)
