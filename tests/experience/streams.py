"""Made-up experience, in which every frame says where it is from."""

import jax
import numpy as np

from sobirl.experience import Fragment, Steps


def stream(num_envs, records, seed=0, longest=9):
    """Whole streams with episodes of 1 to `longest` steps, and the number of each one's episode."""
    rng = np.random.default_rng(seed)
    live = np.ones((num_envs, records), bool)
    terminated, truncated = np.zeros_like(live), np.zeros_like(live)
    episode = np.zeros(live.shape, int)
    for env in range(num_envs):
        begin, number = 0, 0
        while begin < records:
            end = begin + rng.integers(1, longest + 1)  # the record that holds the last frame
            episode[env, begin : end + 1] = number
            if end < records:
                live[env, end] = False
            if end - 1 < records:
                (terminated if rng.random() < 0.5 else truncated)[env, end - 1] = True
            begin, number = end + 1, number + 1
    frame = np.stack(np.broadcast_arrays(*np.ogrid[:num_envs, :records]), axis=-1)
    steps = Steps(
        observation=frame.astype(np.float32),
        action=frame[..., 1].astype(np.int32),
        reward=np.where(live, frame[..., 1], np.nan).astype(np.float32),
        terminated=terminated,
        truncated=truncated,
        live=live,
        log_prob=-frame[..., 1].astype(np.float32),
    )
    return steps, episode


def ring(steps, capacity, written):
    """The ring after `written` records of the streams, the index of its oldest, and their count."""
    count = min(written, capacity)
    newest = np.arange(written - count, written)

    def of(leaf):
        kept = np.zeros((leaf.shape[0], capacity, *leaf.shape[2:]), leaf.dtype)
        kept[:, newest % capacity] = leaf[:, newest]
        return jax.numpy.asarray(kept)

    return jax.tree.map(of, steps), (written % capacity if written > capacity else 0), count


def fragments(*shape, length=4, frames=None, seed=0):
    """Fragments of random numbers, all of whose steps count."""
    rng = np.random.default_rng(seed)
    return Fragment(
        observation=rng.integers(0, 255, (*shape, frames or length, 3, 2)).astype(np.uint8),
        action=rng.integers(0, 5, (*shape, length)).astype(np.int32),
        reward=rng.standard_normal((*shape, length)).astype(np.float32),
        log_prob=rng.standard_normal((*shape, length)).astype(np.float32),
        mask=np.ones((*shape, length), bool),
        taken_at=rng.integers(0, 1000, shape).astype(np.int32),
    )


def of_rewards(rewards):
    """Pairs with these rewards (M,2,L)."""
    rewards = np.asarray(rewards, np.float32)
    some = fragments(*rewards.shape[:-1], length=rewards.shape[-1])
    return Fragment(**{**vars(some), "reward": rewards})


def assert_equal(first, second):
    """The same leaves, dtypes included."""
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def assert_frequency(outcomes, probability):
    """A number of successes that lies within its 99 % binomial interval."""
    from scipy.stats import binom

    outcomes = np.asarray(outcomes)
    low, high = binom.interval(0.99, outcomes.size, probability)
    assert low <= outcomes.sum() <= high
