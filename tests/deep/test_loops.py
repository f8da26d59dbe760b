"""Loops: known values are learned, episodes are evaluated, saved runs go on."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probes import DiscreteCounter, Probe, better_action, loop_of, small_learner, table
from sobirl.deep.envs import make
from sobirl.deep.host_loop import HostLoop

KEY = jax.random.key(0)
DISCOUNT, TEMPERATURE = 0.8, 0.05
ENTROPY = TEMPERATURE * np.log(2)  # of a policy that has no reason to prefer an action

# The environment, and the values of what it shows. Their tables have the same shapes, so that one
# program serves all.
PROBES = {
    "one step of two sights": (
        Probe(table((3, 2), [1, -1]), table((2, 2, 2), [[1], [-1]]), 1),
        {1: 1, -1: -1},
    ),
    "two steps, a late reward": (
        Probe(table((3, 2), [[0], [1], [2]]), table((2, 2, 2), [[[0]], [[1]]]), 2),
        {1: 1, 0: DISCOUNT * (1 + ENTROPY)},
    ),
    "cut off where it would go on": (
        Probe(table((3, 2), 1), table((2, 2, 2), 1), 2, cut=True),
        {1: (1 + DISCOUNT * ENTROPY) / (1 - DISCOUNT)},
    ),
}


@pytest.mark.parametrize(("probe", "values"), PROBES.values(), ids=PROBES)
def test_known_values_are_learned(probe, values):
    loop = loop_of(probe)
    learner = small_learner(discount=DISCOUNT, temperature=TEMPERATURE)
    (state, _), sums = loop.advance(learner, None, loop.begin(learner, KEY), 800)
    shown = jnp.array(list(values), jnp.float32)[:, None]
    q = np.asarray(state.follower.critic(shown))  # (2,B,A)
    expected = np.array(list(values.values()))[:, None]
    np.testing.assert_allclose(q, np.broadcast_to(expected, q.shape), atol=0.05)
    assert sums["critic_loss"] / sums["updates"] < 1


TRACES = []


class Traced(Probe):
    """It notes when it is traced."""

    def step(self, state, action, key):
        TRACES.append(None)
        return super().step(state, action, key)


def scaled(scale, observation, action):
    return scale * observation[:, 0]


def test_a_program_is_compiled_once():
    loop = loop_of(Traced(table((3, 2), 1), table((2, 2, 2), 1), 2))
    learner = small_learner(kind=DiscreteCounter)
    state = loop.begin(learner, KEY)
    counts = []
    for scale in (1.0, 2.0, 3.0):  # a learned reward changes between calls
        reward = jax.tree_util.Partial(scaled, jnp.array(scale))
        state, _ = loop.advance(learner, reward, state, 5)
        counts.append(len(TRACES))
    assert counts[0] == counts[1] == counts[2]
    assert state[0].vector_steps == 15


def leaning(learner, logit):
    """A follower whose second action has so much more of a logit, whatever it sees."""
    state = learner.follower.init(KEY)
    actor = jax.tree.map(jnp.zeros_like, state.actor)
    bias = jnp.zeros_like(actor.head.bias).at[1].set(logit)
    actor = eqx.tree_at(lambda a: a.head.bias, actor, bias)
    return eqx.tree_at(lambda s: s.actor, state, actor)


def test_evaluation_in_jax():
    loop, learner = loop_of(better_action(10), episodes=3), small_learner()
    evaluate = functools.partial(loop.evaluate, learner.follower)
    np.testing.assert_array_equal(evaluate(leaning(learner, 20.0), KEY, 4), [4, 4, 4])
    slightly = leaning(learner, 0.1)
    np.testing.assert_array_equal(evaluate(slightly, KEY, 99, greedy=True), [10, 10, 10])
    drawn = evaluate(slightly, KEY, 4)
    assert (drawn < 4).any() and (drawn == evaluate(slightly, KEY, 4)).all()


def test_fragments_of_the_present_policy_in_jax():
    loop, learner = loop_of(better_action(10), num_envs=3), small_learner(3, 10**6, 1 / 3)
    state = loop.begin(learner, KEY)  # whose own actions are random
    state = (eqx.tree_at(lambda s: s.follower, state[0], leaning(learner, 1.0)), state[1])
    before = copied(state)
    made = loop.fragments(learner, state, 4, 500, KEY)
    streams, each = made.mask.shape[:2]
    assert streams == 66 and each == 8  # 22 copies of three environments
    assert bool(eqx.tree_equal(before, state))
    # Episodes of ten steps and a record without one: 4, 4, 2, then from the second step on.
    lengths = np.asarray(made.mask).sum(axis=-1)
    np.testing.assert_array_equal(lengths[:, :4], [[4, 4, 2, 4]] * streams)
    action, mask = np.asarray(made.action), np.asarray(made.mask)
    share = action[mask].mean()
    expected = 1 / (1 + np.exp(-1.0))
    assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / mask.sum())
    log_prob = np.log(np.where(action == 1, expected, 1 - expected))
    np.testing.assert_allclose(np.asarray(made.log_prob)[mask], log_prob[mask], rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(made.reward)[mask], action[mask])
    assert not bool(eqx.tree_equal(made, loop.fragments(learner, state, 4, 500, jax.random.key(1))))
    assert bool(eqx.tree_equal(made, loop.fragments(learner, state, 4, 500, KEY)))


@pytest.fixture
def cart_poles():
    """Makes loops over two poles on the host, which are closed at the end."""
    made = []

    def open_loop():
        made.extend(make("CartPole-v1", 2, "gymnasium") for _ in range(2))
        return HostLoop(*made[-2:])

    yield open_loop
    for environments in made:
        environments.close()


def copied(state):
    return jax.tree.map(lambda leaf: leaf.copy(), state)  # loops take over what they get


def on_the_host(**settings):
    return small_learner(2, 10, 0.5, shape=(4,), **settings)


def test_on_the_host_a_restored_run_goes_on_bit_for_bit(cart_poles):
    learner, loop = on_the_host(), cart_poles()
    assert loop.can_restore
    state, first = loop.advance(learner, None, loop.begin(learner, KEY), 40)
    saved = copied(state)
    state, sums = loop.advance(learner, None, state, 25)

    records = jax.tree.map(lambda leaf: np.asarray(leaf)[:, :65], state[0].replay.experience)
    ended = records.terminated | records.truncated
    assert state[0].steps == records.live.sum() < 2 * 65
    assert int(first["episodes"] + sums["episodes"]) == ended.sum() > 0
    assert first["returns"] == first["lengths"] > 0  # 1 for every step
    np.testing.assert_array_equal(records.live[:, 1:], ~ended[:, :-1])
    assert first["updates"] + sums["updates"] == state[0].follower.updates == 65 - 4
    # The final observation has a record of its own, in which the pole has fallen or left.
    final = records.observation[:, 1:][ended[:, :-1]]
    assert ((np.abs(final[:, 2]) > 0.2) | (np.abs(final[:, 0]) > 2.4)).all()

    other = cart_poles()
    again, same = other.advance(learner, None, other.restore(saved), 25)
    assert bool(eqx.tree_equal((state, sums), (again, same)))


def test_on_the_host_new_episodes_begin_where_nothing_can_be_restored(cart_poles):
    learner, loop = on_the_host(kind=DiscreteCounter), cart_poles()
    loop.environments.can_restore = False
    state, _ = loop.advance(learner, None, loop.begin(learner, KEY), 12)
    saved = copied(state)
    assert saved[1] == () and not loop.can_restore
    learner_state, _ = loop.restore(state)
    assert np.abs(learner_state.frames).max() <= 0.05
    assert learner_state.live.all() and not learner_state.lengths.any()
    kept = saved[0].follower, saved[0].replay, saved[0].steps
    now = learner_state.follower, learner_state.replay, learner_state.steps
    assert bool(eqx.tree_equal(kept, now))


def test_fragments_on_the_host_are_the_newest(cart_poles):
    learner, loop = on_the_host(kind=DiscreteCounter), cart_poles()
    state, _ = loop.advance(learner, None, loop.begin(learner, KEY), 40)
    made = loop.fragments(learner, state, 5, 8, KEY)
    assert made.mask.shape == (8, 1, 5)  # two streams are too few to be compared with each other
    assert sorted(np.asarray(made.taken_at).ravel()) == sorted([20, 25, 30, 35] * 2)
    records = state[0].replay.experience
    shown = np.asarray(records.observation)[:, 20:40].reshape(8, 1, 5, 4)
    mask = np.asarray(made.mask)
    np.testing.assert_array_equal(np.asarray(made.observation)[mask], shown[mask])
    assert loop.fragments(learner, state, 5, 10**6, KEY).mask.shape[0] == 2 * (128 // 5)


def test_evaluation_on_the_host(cart_poles):
    learner, loop = on_the_host(), cart_poles()
    always_right = leaning(learner, 20.0)
    returns = loop.evaluate(learner.follower, always_right, KEY, 500)
    assert ((returns >= 8) & (returns <= 11)).all()
    np.testing.assert_array_equal(loop.evaluate(learner.follower, always_right, KEY, 5), [5, 5])
