import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experience.streams import assert_equal, assert_frequency, fragments
from sobirl.core import InvalidInputError
from sobirl.prefs import PairQueue


def numbered(first, num):
    """Pairs and labels that say in which order they came."""
    number = np.arange(first, first + num, dtype=np.int32)
    return {"number": number}, number / np.float32(100)


add = jax.jit(PairQueue.add)
at = jax.jit(PairQueue.at)
sample = jax.jit(PairQueue.sample, static_argnames="batch")


def queue_of(capacity, *batches):
    queue = PairQueue.init({"number": np.int32(0)}, capacity)
    for first, num in batches:
        queue = add(queue, *numbered(first, num))
    return queue


def newest_first(queue):
    held = at(queue, np.arange(queue.capacity))
    there = held.number >= 0
    assert there.sum() == queue.size
    number = np.asarray(held.pair["number"])[there]
    np.testing.assert_allclose(held.label[there], number / 100, rtol=1e-6)
    return number.tolist()


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([], []),
        ([(0, 3)], [2, 1, 0]),
        ([(0, 3), (3, 2)], [4, 3, 2, 1, 0]),
        ([(0, 3), (3, 4)], [6, 5, 4, 3, 2]),
        ([(0, 12)], [11, 10, 9, 8, 7]),
        ([(0, 4), (4, 7), (11, 1)], [11, 10, 9, 8, 7]),
    ],
)
def test_the_newest_replace_the_oldest(batches, expected, precision):
    queue = queue_of(5, *batches)
    assert newest_first(queue) == expected
    assert queue.added == sum(num for _, num in batches)
    held = at(queue, np.arange(7))
    numbers = [*range(int(queue.added) - 1, int(queue.added) - 1 - len(expected), -1)]
    assert held.number.tolist() == numbers + [-1] * (7 - len(expected))


@pytest.mark.parametrize("capacity", [3, 10])
def test_skipped_pairs_are_left_out(capacity):
    queue = queue_of(capacity, (0, 2))
    kept = np.array([True, False, True, True, False, True, True, False])
    queue = add(queue, *numbered(10, 8), kept)
    assert newest_first(queue) == [16, 15, 13, 12, 10, 1, 0][:capacity]
    assert queue.added == 7
    assert_equal(queue, add(queue, *numbered(20, 8), np.zeros(8, bool)))


def test_draws_are_uniform():
    queue = queue_of(5, (0, 4), (4, 7))
    drawn = sample(queue, jax.random.key(0), batch=3000)
    np.testing.assert_array_equal(drawn.number, drawn.pair["number"])
    for number in range(6, 11):
        assert_frequency(drawn.number == number, 1 / 5)
    again = sample(queue, jax.random.key(0), batch=3000)
    assert_equal(drawn, again)


def test_draws_from_a_queue_that_is_not_full():
    for queue, numbers in ((queue_of(5, (0, 2)), {0, 1}), (queue_of(5), {-1})):
        assert set(sample(queue, jax.random.key(0), batch=100).number.tolist()) == numbers


def test_fragments_inside_one_program():
    traces = []

    @jax.jit
    def step(queue, pairs, labels, kept, key):
        traces.append(None)
        queue = queue.add(pairs, labels, kept)
        return queue, queue.sample(key, 4)

    pairs = fragments(3, 2)
    queue = PairQueue.init(jax.eval_shape(lambda: jax.tree.map(lambda x: x[0], pairs)), 7)
    for seed in range(4):
        pairs = fragments(3, 2, seed=seed)
        labels, kept = np.array([1.0, 0.5, 0.0], np.float32), np.array([True, seed != 1, True])
        queue, batch = step(queue, pairs, labels, kept, jax.random.key(seed))
    assert len(traces) == 1
    assert queue.added == 11
    assert batch.pair.observation.shape == (4, 2, 4, 3, 2)
    assert_equal(at(queue, np.array([2, 1, 0])).pair, pairs)


@pytest.mark.parametrize(
    "pairs",
    [{"number": np.zeros(3)}, {"number": np.zeros((3, 1), np.int32)}, np.zeros(3, np.int32)],
)
def test_pairs_of_another_form(pairs):
    with pytest.raises(InvalidInputError, match=r"pairs: must be like .*int32\(\)'}, got "):
        queue_of(5).add(pairs, np.zeros(3))


def test_bad_numbers():
    with pytest.raises(InvalidInputError, match="capacity: must be at least 1, got 0"):
        PairQueue.init({"number": jnp.int32(0)}, 0)
    with pytest.raises(InvalidInputError, match="batch: must be at least 1, got 0"):
        queue_of(3, (0, 2)).sample(jax.random.key(0), 0)
