"""The reward for new states: its values, its units, and what a follower makes of it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probes import Walk, loop_of, small_learner
from sobirl.core.errors import InvalidInputError
from sobirl.deep.novelty import POOL, Novelty

KEY = jax.random.key(0)
made = eqx.filter_jit(Novelty)
of_replay = eqx.filter_jit(Novelty.of_replay)


def novelty_of(novelty, states):
    states = jnp.asarray(np.asarray(states, np.float32))
    return np.asarray(eqx.filter_jit(novelty)(states, np.zeros(len(states), np.int32)))


def test_values():
    """Against distances that are sorted one by one."""
    rng = np.random.default_rng(0)
    pool, states = rng.normal(size=(40, 3)) * [1, 10, 0.1], rng.normal(size=(7, 3))
    found = novelty_of(made(np.float32(pool), neighbors=4), states)
    spread = pool.std(axis=0)

    def surprise(state, number):
        distances = np.linalg.norm((pool - state) / spread, axis=1)
        return np.log1p(np.sort(distances)[number - 1])

    unit = np.std([surprise(state, 5) for state in pool])  # the state itself is the first
    expected = [surprise(state, 4) / unit for state in states]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_farther_is_newer_whatever_the_units():
    pool = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    states = np.array([[0.0, 0.0], [3.0, 0.0], [30.0, 30.0]])
    novelty = novelty_of(made(pool), states)
    assert np.all(np.diff(novelty) > 0)
    scale = np.array([100.0, 0.01], np.float32)
    np.testing.assert_allclose(novelty_of(made(pool * scale), states * scale), novelty, rtol=0.01)


def test_states_that_are_all_the_same():
    """As before the first step: finite, and nothing is new but what differs."""
    same = made(np.ones((10, 4), np.float32))
    assert np.isfinite(novelty_of(same, [[1, 1, 1, 1], [1, 1, 1, 2]])).all()
    assert novelty_of(same, [[1, 1, 1, 1]]) == 0


def test_images_are_scaled_like_anywhere_else():
    screens = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 2), np.uint8)
    actions = np.zeros(20, np.int32)
    found = eqx.filter_jit(lambda states: Novelty(states, 2)(states, jnp.asarray(actions)))
    np.testing.assert_allclose(found(screens), found(np.float32(screens / 255)), rtol=1e-4)


@pytest.mark.parametrize("neighbors", [0, 10])
def test_bad_neighbors(neighbors):
    with pytest.raises(InvalidInputError, match=f"must be between 1 and 9, got {neighbors}"):
        Novelty(jnp.ones((10, 4)), neighbors)


def test_of_a_replay():
    loop, learner = loop_of(Walk(), 4), small_learner(4, random_steps=1000)
    state = loop.begin(learner, KEY)
    state, _ = loop.advance(learner, None, state, 50)
    novelty = of_replay(learner.replay, state[0].replay, KEY)
    assert novelty.pool.shape == (POOL, 1)
    # Random walks stay near the middle of the line.
    values = novelty_of(novelty, np.arange(-20.0, 21)[:, None])
    assert values[0] > 2 * values[20] and values[-1] > 2 * values[20]


@pytest.mark.slow
def test_a_follower_goes_where_it_has_not_been():
    """Places at the end of an episode: a random walk's are near 0, an explorer's far from it."""
    loop = loop_of(Walk(), 8)
    learner = small_learner(8, random_steps=160, updates_per_step=0.5, temperature=0.1)
    state, reward = loop.begin(learner, KEY), None
    for number in range(8):
        state, _ = loop.advance(learner, reward, state, 21)
        last = np.abs(
            np.asarray(state[0].replay.experience.observation)[:, (number * 21 + 20) % 32]
        )
        reward = of_replay(learner.replay, state[0].replay, jax.random.key(number))
        if number == 0:
            at_random = last.mean()
    assert at_random < 8 < 12 < last.mean()
