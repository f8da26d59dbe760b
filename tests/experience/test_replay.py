"""Replay: what was added comes back as transitions; frames say where they are from."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experience.streams import stream
from sobirl.experience import Steps
from sobirl.experience.replay import Replay

N, LENGTH, CHUNK = 2, 24, 4
RECORDS = 3 * LENGTH
BATCH = 512  # so many that nothing which is kept is missed

add = eqx.filter_jit(Replay.add)
sample = eqx.filter_jit(Replay.sample)


@functools.cache
def replay_of(k):
    return Replay(N, N * LENGTH, BATCH, k)


def filled(replay, steps, records):
    """The ring after so many records of the streams."""
    steps = jax.tree.map(jnp.asarray, steps)
    state = replay.init(jax.tree.map(lambda leaf: leaf[0, 0], steps))
    for begin in range(0, records, CHUNK):
        chunk = jax.tree.map(lambda leaf, at=begin: leaf[:, at : at + CHUNK], steps)
        state = add(replay, state, chunk)
    return state


def shown(observation):
    """Of stacked frames the environment (B,) and the records (B,k) that they are from."""
    observation = np.asarray(observation).astype(int)
    frames = observation[..., None] if observation.ndim == 2 else observation
    assert (frames[:, 0] == frames[:, :1, 0]).all()
    return frames[:, 0, 0], frames[:, 1]


@given(
    seed=st.integers(0, 99),
    chunks=st.integers(2, RECORDS // CHUNK),
    k=st.sampled_from([1, 3]),
)
def test_what_was_added_comes_back(seed, chunks, k):
    steps, episode = stream(N, RECORDS, seed)
    records = chunks * CHUNK
    replay = replay_of(k)
    state = filled(replay, steps, records)
    batch = sample(replay, state, jax.random.key(seed))
    env, record = shown(batch.observation)
    at = record[:, -1]

    # The newest records, less the frames that a stack needs; a record is followed by its next.
    oldest = max(records - LENGTH, 0)
    assert (at >= oldest + k - 1).all() and (at < records - 1).all()
    kept = {(e, t) for e in range(N) for t in range(oldest + k - 1, records - 1)}
    assert set(zip(env.tolist(), at.tolist(), strict=True)) == kept
    np.testing.assert_array_equal(batch.action, at)
    np.testing.assert_array_equal(batch.weight, steps.live[env, at])
    live = steps.live[env, at]
    np.testing.assert_array_equal(batch.reward[live], at[live])
    np.testing.assert_array_equal(batch.terminated, steps.terminated[env, at])

    # The next observation, also after terminations and truncations; stacks mix no episodes.
    for observation, newest in ((batch.observation, at), (batch.next_observation, at + 1)):
        their_env, their_record = shown(observation)
        own = episode[env, at][:, None]
        first = np.argmax(episode[env] == own, axis=1)
        wanted = np.maximum(newest[:, None] + np.arange(1 - k, 1), first[:, None])
        assert (their_env == env).all()
        np.testing.assert_array_equal(their_record[live], wanted[live])


@pytest.mark.parametrize(("records", "expected"), [(20, (0, 20)), (24, (0, 24)), (32, (8, 24))])
def test_ring(records, expected):
    replay = replay_of(1)
    state = filled(replay, stream(N, RECORDS)[0], records)
    first, count = replay.ring(state)
    assert (int(first), int(count)) == expected
    oldest = np.asarray(state.experience.observation[0, int(first), 1])
    assert oldest == records - expected[1]


@pytest.mark.parametrize("k", [1, 4])
def test_every_frame_is_held_once(k):
    capacity, side = 1000, 20
    frame = jnp.zeros((1, 1, side, side), jnp.uint8)
    zero, no = jnp.zeros((1, 1), jnp.float32), jnp.zeros((1, 1), bool)
    like = Steps(frame, jnp.zeros((1, 1), jnp.int32), zero, no, no, no, zero)
    like = jax.tree.map(lambda leaf: leaf[0, 0], like)
    state = jax.eval_shape(Replay(4, capacity, 8, k).init, like)
    total = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    assert capacity * side**2 < total < capacity * (side**2 + 20)


def test_the_smallest_ring_holds_what_a_transition_needs():
    assert Replay(4, 1, 8, frame_stack=3).length == 4
    assert Replay(4, 100, 8, frame_stack=3).length == 25


def test_draws_are_uniform_and_the_key_decides():
    replay = replay_of(1)
    state = filled(replay, stream(N, RECORDS)[0], LENGTH)
    draws = [sample(replay, state, jax.random.key(seed)) for seed in (0, 0, 1)]
    places = [env * LENGTH + at[:, 0] for env, at in (shown(d.observation) for d in draws)]
    assert (places[0] == places[1]).all() and (places[0] != places[2]).any()
    counts = np.bincount(np.concatenate(places[1:]), minlength=N * LENGTH)
    counts = counts.reshape(N, LENGTH)[:, :-1]  # the newest has no next observation
    expected = 2 * BATCH / counts.size
    assert ((counts - expected) ** 2 / expected).sum() < 80  # chi-square, 45 degrees of freedom
