import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from experience.streams import assert_equal, assert_frequency, fragments, ring, stream
from sobirl.core import InvalidInputError
from sobirl.experience import (
    Fragment,
    Steps,
    consecutive_fragments,
    cropped,
    sample_fragments,
    stack_frames,
)

ENVS, CAPACITY, LENGTH = 3, 40, 6
STREAM, EPISODE = stream(ENVS, 150)


def sample(written, num=200, seed=0, **options):
    steps, first, count = ring(STREAM, CAPACITY, written)
    options = {"first": first, "count": count, "now": written, **options}
    drawn = sample_fragments(steps, jax.random.key(seed), num, LENGTH, **options)
    return jax.tree.map(np.asarray, drawn)


def starts(sampled):
    """The environment and the record of every first step."""
    return sampled.observation[..., -LENGTH, 0].astype(int), sampled.taken_at


def expected(env, start, written, k, cross_episodes):
    """Frames, actions and mask of one fragment, record by record."""
    live, episode = STREAM.live[env], EPISODE[env]
    frames = []
    for record in range(start - k + 1, start):
        while record < max(written - CAPACITY, 0) or episode[record] != episode[start]:
            record += 1
        frames.append(STREAM.observation[env, record])
    mask = [
        record < written and live[record] and (cross_episodes or episode[record] == episode[start])
        for record in range(start, start + LENGTH)
    ]
    return frames, mask


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("cross_episodes", [False, True])
@pytest.mark.parametrize("written", [1, 7, CAPACITY, 97])
def test_fragments_are_what_the_stream_holds(written, cross_episodes, k):
    sampled = sample(written, frame_stack=k, cross_episodes=cross_episodes)
    assert sampled.observation.shape == (200, LENGTH + k - 1, 2)
    assert sampled.mask[:, 0].all()
    for i, (env, start) in enumerate(zip(*starts(sampled), strict=True)):
        assert max(written - CAPACITY, 0) <= start < written
        assert STREAM.live[env, start]
        before, mask = expected(env, start, written, k, cross_episodes)
        np.testing.assert_array_equal(sampled.mask[i], mask)
        shown = sampled.observation[i]
        np.testing.assert_array_equal(shown[: k - 1], np.reshape(before, (k - 1, 2)))
        taken = start + np.arange(LENGTH)[mask]
        np.testing.assert_array_equal(shown[k - 1 :][mask], STREAM.observation[env, taken])
        for name in ("action", "reward", "log_prob"):
            got = getattr(sampled, name)[i][mask]
            np.testing.assert_array_equal(got, getattr(STREAM, name)[env, taken])


def test_states_of_the_environment_go_with_their_steps():
    state = {"place": STREAM.observation, "time": STREAM.action}
    steps, first, count = ring(Steps(**{**vars(STREAM), "state": state}), CAPACITY, 97)
    key, options = jax.random.key(0), {"first": first, "count": count, "frame_stack": 3}
    sampled = sample_fragments(steps, key, (10, 2), LENGTH, **options)
    mask = sampled.mask
    np.testing.assert_array_equal(sampled.state["time"][mask], sampled.action[mask])
    shown = sampled.observation[..., 2:, :]
    np.testing.assert_array_equal(sampled.state["place"][mask], shown[mask])


def test_single_and_double_precision_draw_the_same():
    drawn = []
    for x64 in (False, True):
        with jax.enable_x64(x64):
            drawn.append(sample(97, frame_stack=3))
    assert_equal(*drawn)


def test_every_live_record_is_as_likely_a_start():
    written, num = 97, 20_000
    env, start = starts(sample(written, num))
    live = STREAM.live.copy()
    live[:, : written - CAPACITY] = live[:, written:] = False
    counts = np.zeros(live.shape)
    np.add.at(counts, (env, start), 1)
    mean = num / live.sum()
    assert counts[~live].sum() == 0
    statistic = ((counts[live] - mean) ** 2 / mean).sum()
    assert statistic < chi2.ppf(0.99, live.sum() - 1)


def test_rings_larger_than_a_block_of_records():
    """One live record in many is found, wherever it is."""
    live = jnp.zeros((2, 1000), bool).at[1, [3, 257, 999]].set(True)
    steps, _, _ = ring(stream(2, 1000)[0], 1000, 1000)
    steps = Steps(**{**vars(steps), "live": live})
    sampled = sample_fragments(steps, jax.random.key(0), 90, 3, first=0, count=1000)
    found, times = np.unique(sampled.taken_at, return_counts=True)
    assert found.tolist() == [3, 257, 999]
    assert times.min() > 15
    np.testing.assert_array_equal(sampled.mask, [[True, False, False]] * 90)


def test_episodes_without_a_record_between_them():
    """The flags alone mark the border."""
    zero = np.zeros((1, 4), np.float32)
    flag = zero.astype(bool)
    end = np.array([[False, True, False, False]])
    for terminated, truncated in ((end, flag), (flag, end)):
        steps = Steps(np.arange(4.0)[None], zero, zero, terminated, truncated, ~flag, zero)
        options = {"first": 0, "count": 4, "frame_stack": 2}
        sampled = sample_fragments(steps, jax.random.key(0), 20, 3, **options)
        sampled = jax.tree.map(np.asarray, sampled)
        for i, start in enumerate(sampled.taken_at.tolist()):
            assert sampled.mask[i].sum() == [2, 1, 2, 1][start]
            assert sampled.observation[i, :2].tolist() == [[0, 0], [0, 1], [2, 2], [2, 3]][start]


def test_recent_limits_the_starts():
    drawn = {
        (int(env), int(start)) for env, start in zip(*starts(sample(97, recent=10)), strict=True)
    }
    assert drawn == {(env, 87 + i) for env, i in np.argwhere(STREAM.live[:, 87:97])}


@pytest.mark.parametrize("written", [LENGTH, CAPACITY, 97])
def test_whole_fragments(written):
    """All of their steps are of one episode, and every one that is whole is drawn."""
    drawn = {(int(e), int(s)) for e, s in zip(*starts(sample(written, whole=True)), strict=True)}
    ends = STREAM.terminated | STREAM.truncated
    begin = np.arange(max(written - CAPACITY, 0), written - LENGTH + 1)
    whole = {
        (env, int(start))
        for env in range(ENVS)
        for start in begin
        if STREAM.live[env, start] and not ends[env, start : start + LENGTH - 1].any()
    }
    assert drawn == whole and whole
    assert sample(written, whole=True).mask.all()


def test_where_none_is_whole_any_will_do():
    sampled = sample(LENGTH - 1, whole=True)
    assert_equal(sampled, sample(LENGTH - 1))


@pytest.mark.parametrize("k", [1, 3])
def test_consecutive_fragments(k):
    written, num = 97, 4
    steps, first, count = ring(STREAM, CAPACITY, written)
    options = {"first": first, "count": count, "now": written, "frame_stack": k}
    found = jax.tree.map(np.asarray, consecutive_fragments(steps, num, LENGTH, **options))
    assert found.mask.shape == (ENVS, num, LENGTH)
    for env, n in np.ndindex(ENVS, num):
        start = written - (num - n) * LENGTH
        assert found.taken_at[env, n] == start
        frames, mask = expected(env, start, written, k, False)
        mask = np.array(mask) & STREAM.live[env, start]
        np.testing.assert_array_equal(found.mask[env, n], mask)
        if mask.any():
            np.testing.assert_array_equal(
                found.observation[env, n, : k - 1], np.reshape(frames, (k - 1, 2))
            )
        taken = start + np.arange(LENGTH)[mask]
        np.testing.assert_array_equal(found.reward[env, n][mask], STREAM.reward[env, taken])


def test_consecutive_fragments_of_too_few_records():
    steps, first, count = ring(STREAM, CAPACITY, LENGTH)
    found = consecutive_fragments(steps, 2, LENGTH, first=first, count=count)
    assert not found.mask[:, 0].any() and found.mask[:, 1, 0].all()
    with pytest.raises(InvalidInputError, match="num: must be at least 1 and at most 6, got 7"):
        consecutive_fragments(steps, 7, LENGTH, first=first, count=count)


@pytest.mark.parametrize("cross_episodes", [False, True])
def test_without_a_live_record_nothing_is_masked_in(cross_episodes):
    newest_is_dead = np.flatnonzero(~STREAM.live[0])[5] + 1
    steps, first, count = ring(jax.tree.map(lambda x: x[:1], STREAM), CAPACITY, newest_is_dead)
    options = {"first": first, "count": count, "recent": 1, "cross_episodes": cross_episodes}
    sampled = sample_fragments(steps, jax.random.key(0), 20, LENGTH, **options)
    assert not sampled.mask.any()


def test_leading_axes_and_the_same_key():
    pairs = sample(97, num=(5, 2))
    assert {leaf.shape[:2] for leaf in jax.tree.leaves(pairs)} == {(5, 2)}
    flat = jax.tree.map(lambda leaf: leaf.reshape(10, *leaf.shape[2:]), pairs)
    assert_equal(flat, sample(97, num=10))
    assert not np.array_equal(flat.taken_at, sample(97, num=10, seed=1).taken_at)


def test_one_program_for_all_fillings_without_large_temporaries():
    traces, capacity = [], 100_000

    @jax.jit
    def draw(steps, key, first, count, now, recent):
        traces.append(None)
        options = {"first": first, "count": count, "now": now, "recent": recent}
        return sample_fragments(steps, key, 8, 5, frame_stack=2, **options)

    part, _, _ = ring(*stream(1, 1000)[:1], 1000, 1000)
    steps = jax.tree.map(lambda x: jnp.tile(x, (2, capacity // 1000, *[1] * (x.ndim - 2))), part)
    arguments = [(0, 1, 1, 5), (0, 90_000, 90_000, 80_000), (7, capacity, 3 * capacity, capacity)]
    for numbers in arguments:
        sampled = draw(steps, jax.random.key(0), *map(jnp.int32, numbers))
        assert sampled.mask[:, 0].all()
    assert len(traces) == 1
    memory = draw.lower(steps, jax.random.key(0), *map(jnp.int32, numbers)).compile()
    assert memory.memory_analysis().temp_size_in_bytes < 8 * steps.live.size


def test_windows_of_frames():
    frames = jnp.arange(2 * 5 * 3).reshape(2, 5, 3)
    stacked = stack_frames(frames, 3)
    assert stacked.shape == (2, 3, 3, 3)
    for step in range(3):
        np.testing.assert_array_equal(stacked[:, step, :, 2], frames[:, step + 2])
        np.testing.assert_array_equal(stacked[:, step, :, 0], frames[:, step])
    np.testing.assert_array_equal(stack_frames(frames, 1), frames)
    np.testing.assert_array_equal(
        stack_frames(frames[:, None], 3, axis=2), np.asarray(stacked)[:, None]
    )


@pytest.mark.parametrize("k", [1, 3])
def test_what_networks_see(k):
    pairs = fragments(5, 2, length=4, frames=4 + k - 1)
    expected = np.asarray(stack_frames(pairs.observation, k, axis=2))
    assert expected.shape == (5, 2, 4, 3, 2) + (() if k == 1 else (k,))
    np.testing.assert_array_equal(pairs.stacked, expected)


@pytest.mark.parametrize("k", [0, 6])
def test_windows_that_do_not_fit(k):
    with pytest.raises(InvalidInputError, match=f"k: must be between 1 and the 5 frames, got {k}"):
        stack_frames(jnp.zeros((2, 5)), k)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num": 0}, "num: must be at least 1, got 0"),
        ({"num": (3, 0)}, "num: must be at least 1, got 0"),
        ({"length": 0}, "length: must be at least 1 and at most 40, got 0"),
        ({"length": 41}, "length: must be at least 1 and at most 40, got 41"),
        ({"frame_stack": 0}, "frame_stack: must be at least 1, got 0"),
        ({"recent": 0}, "recent: must be at least 1, got 0"),
        ({"count": 0}, "count: must be at least 1 and at most 40, got 0"),
        ({"count": 41}, "count: must be at least 1 and at most 40, got 41"),
        ({"first": 40}, "first: must be at least 0 and at most 39, got 40"),
    ],
)
def test_bad_numbers(options, message):
    steps, first, count = ring(STREAM, CAPACITY, 97)
    draw = functools.partial(sample_fragments, steps, jax.random.key(0))
    with pytest.raises(InvalidInputError, match=message):
        draw(**{"num": 5, "length": 3, "first": first, "count": count, **options})


def test_windows_of_pairs():
    pairs = fragments(500, 2, length=9)
    short = np.arange(9) < np.resize([9, 4], (500, 2))[..., None]  # the second one's episode ends
    pairs = eqx.tree_at(lambda f: f.mask, pairs, short)
    part = jax.jit(cropped, static_argnums=2)(pairs, jax.random.key(0), 6)
    assert_equal(eqx.tree_at(lambda f: f.mask, part, short), pairs)  # nothing else is touched
    mask = np.asarray(part.mask)
    assert (mask <= short).all()
    length = mask[:, 0].sum(-1)
    for window in range(6, 10):
        assert_frequency(length == window, 1 / 4)
    begin, other = mask.argmax(-1).T
    for first in (mask[:, 0], mask[:, 1]):  # no holes
        assert (np.abs(np.diff(np.pad(first, ((0, 0), (1, 1))).astype(int))).sum(-1) == 2).all()
    # As long in the one as in the other, as far as there are steps; each begins where it likes.
    np.testing.assert_array_equal(mask[:, 1].sum(-1), np.minimum(4 - other, length))
    assert (begin + length <= 9).all() and (begin != other).any()
    for start in range(4):
        assert_frequency(begin[length == 6] == start, 1 / 4)
    whole = cropped(pairs, jax.random.key(1), 9)
    assert_equal(whole, pairs)
    with pytest.raises(InvalidInputError, match="least: must be at least 1 and at most 9, got 10"):
        cropped(pairs, jax.random.key(0), 10)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("reward", (2, 5), r"reward: expected shape \(2, 4\), got \(2, 5\)"),
        ("action", (3, 4), r"action: expected shape \(2, 4, \.\.\.\), got \(3, 4\)"),
        ("taken_at", (2, 4), r"taken_at: expected shape \(2\), got \(2, 4\)"),
        ("observation", (2, 3, 3), r"observation: expected shape \(2, >= 4, \.\.\.\), got"),
        ("state", (2, 5), r"state: expected shape \(2, 4, \.\.\.\), got \(2, 5\)"),
        ("observation", (2,), r"observation: expected shape \(2, >= 4, \.\.\.\), got"),
    ],
)
def test_fragments_of_shapes_that_do_not_fit(name, shape, message):
    fields = vars(fragments(2))
    with pytest.raises(InvalidInputError, match=message):
        Fragment.__check_init__(_Fields({**fields, name: np.zeros(shape)}))


class _Fields:
    """Fields as they come without the checks of the test run, which name no argument."""

    def __init__(self, fields):
        self.__dict__.update(fields)
