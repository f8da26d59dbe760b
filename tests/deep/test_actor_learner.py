"""Acting and learning in turns: what is counted, what is kept, and when learning begins."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probes import (
    ContinuousCounter,
    DiscreteCounter,
    Probe,
    better_action,
    loop_of,
    small_learner,
    table,
)
from sobirl.core.errors import InvalidInputError
from sobirl.deep.actor_learner import ActorLearner, to_environment
from sobirl.deep.envs import Continuous, Discrete, EnvSpec, Step
from sobirl.experience.replay import Replay

KEY = jax.random.key(0)
N, LENGTH = 4, 3
LOOP = loop_of(better_action(LENGTH), N)


def only_action_1(state):
    """The same learner with a policy that takes action 1, whatever it sees."""
    learner, inner = state
    bias = jnp.array([0.0, 20.0], jnp.float32)
    return eqx.tree_at(lambda s: s.follower.actor.head.bias, learner, bias), inner


def counter(random_steps=0, updates_per_step=1 / N):
    return small_learner(N, random_steps, updates_per_step, DiscreteCounter)


@pytest.fixture(scope="module")
def acted():
    """Seven calls: two at random, then five of a policy that is known."""
    with jax.enable_x64(False):
        learner = counter(2 * N)
        begin = only_action_1(LOOP.begin(learner, KEY))
        (state, _), sums = LOOP.advance(learner, None, begin, 7)
        return state, {name: float(value) for name, value in sums.items()}


def test_counts_are_of_live_steps_and_whole_episodes(acted):
    state, sums = acted
    # Three steps, a beginning, three steps.
    assert state.vector_steps == 7 and state.steps == 6 * N
    assert sums["episodes"] == 2 * N and sums["lengths"] == 6 * N
    records = state.replay.experience
    np.testing.assert_array_equal(records.live[:, :7], [[1, 1, 1, 0, 1, 1, 1]] * N)
    np.testing.assert_array_equal(records.truncated[:, :7], [[0, 0, 1, 0, 0, 0, 1]] * N)
    assert not records.terminated.any()
    np.testing.assert_array_equal(
        np.where(records.live, records.reward, 0), np.where(records.live, records.action, 0)
    )
    assert sums["returns"] == records.reward.sum()
    assert not state.live.any() and not state.returns.any() and not state.lengths.any()


def test_first_actions_are_random(acted):
    state, _ = acted
    actions = np.asarray(state.replay.experience.action)
    log_prob = np.asarray(state.replay.experience.log_prob)
    assert 0 in actions[:, :2] and 1 in actions[:, :2]
    np.testing.assert_allclose(log_prob[:, :2], -np.log(2), rtol=1e-6)
    assert (actions[:, 2:7] == 1).all()
    np.testing.assert_allclose(log_prob[:, 2:7], 0, atol=1e-6)


def test_random_actions_are_uniform():
    learner = small_learner(400, 400, 1.0, DiscreteCounter)
    state = only_action_1(loop_of(better_action(LENGTH), 400).begin(learner, KEY))[0]
    action, log_prob = learner.act(state, KEY)
    assert 150 < action.sum() < 250
    np.testing.assert_allclose(log_prob, -np.log(2), rtol=1e-6)


@pytest.mark.parametrize(("a_step", "updates"), [(0.5, 12), (0.25, 6), (0.125, 3)])
def test_updates_are_counted_exactly(a_step, updates):
    learner = counter(2 * N, a_step)
    (state, _), sums = LOOP.advance(learner, None, LOOP.begin(learner, KEY), 7)
    # The first of seven calls is of random steps only; every other call has updates for 0.125.
    assert sums["updates"] == state.follower.updates == updates
    assert 0 < sums["weight"] <= updates  # metrics are sums over updates


def test_nothing_is_learned_during_the_random_steps():
    learner = counter(6 * N + 1)
    (state, _), sums = LOOP.advance(learner, None, LOOP.begin(learner, KEY), 7)
    assert sums["updates"] == state.follower.updates == sums["weight"] == 0


def test_a_new_episode_fills_the_stack_of_frames():
    k, shape = 3, (4, 4)
    follower = DiscreteCounter((*shape, k), num_actions=2)
    learner = ActorLearner(follower, Replay(2, 64, 4, k), 0, 1 / 2)

    def boards(*numbers):
        ones = np.ones((2, *shape), np.uint8)
        return jnp.asarray(ones * np.array(numbers, np.uint8)[:, None, None])

    absorb = eqx.filter_jit(learner.absorb)
    state = learner.init(boards(1, 1), KEY)
    assert (state.frames == 1).all()
    no, zero = jnp.zeros(2, bool), jnp.zeros(2, jnp.float32)
    seen = []
    for number in (2, 3, 4, 5):
        ended = no.at[0].set(number == 3)
        step = Step(boards(number, number), zero, ended, no)
        action = jnp.zeros(2, jnp.int32)
        state, _ = absorb(state, action, zero, step, None, KEY)
        seen.append(np.asarray(state.frames[:, :, 0, 0]).tolist())
    # The first environment's episode ended with frame 3; frame 4 is the first of the next one.
    assert [stack for stack, _ in seen] == [[1, 1, 2], [1, 2, 3], [4, 4, 4], [4, 4, 5]]
    assert [stack for _, stack in seen] == [[1, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]]
    assert state.frames.dtype == jnp.uint8


def test_continuous_actions_reach_the_environment_stretched_to_its_bounds():
    bounds = Continuous([-3.0, 0.0], [1.0, 8.0])
    spec = EnvSpec("continuous probe", (1,), np.dtype(np.float32), bounds, "test")
    action = jnp.array([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.5]], jnp.float32)
    stretched = to_environment(spec, action)
    np.testing.assert_allclose(stretched, [[-3, 0], [1, 8], [-1, 6]], rtol=1e-6)
    whole = jnp.array([1, 0], jnp.int32)
    discrete = EnvSpec("probe", (1,), np.dtype(np.float32), Discrete(2), "test")
    assert to_environment(discrete, whole) is whole

    loop = loop_of(Probe(table((3, 2), 1), table((2, 2, 1), 0), 2, spec=spec), N)
    follower = ContinuousCounter((1,), widths=(4,), action_size=2)
    learner = ActorLearner(follower, Replay(N, 64, 8), 2 * N, 1 / N)
    (state, _), _ = loop.advance(learner, None, loop.begin(learner, KEY), 6)
    records = jax.tree.map(np.asarray, state.replay.experience)
    live = records.live
    assert np.abs(records.action).max() <= 1  # what is kept and learned from
    expected = np.asarray(to_environment(spec, jnp.array(records.action[live]))).sum(-1)
    np.testing.assert_allclose(records.reward[live], expected, rtol=1e-5)
    np.testing.assert_allclose(records.log_prob[:, :2], -2 * np.log(2), rtol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"updates_per_step": 0.0}, "updates_per_step: must be positive"),
        ({"updates_per_step": 0.3}, "updates_per_step: 0.3 makes 1.2 updates for a step of all 4"),
        ({"random_steps": -1}, "random_steps: must not be negative"),
    ],
)
def test_numbers_that_cannot_be(wrong, message):
    with pytest.raises(InvalidInputError, match=message):
        small_learner(N, **wrong)


def test_states_can_only_be_kept_of_environments_that_have_some():
    learner = dataclasses.replace(small_learner(N), keep_states=True)
    with pytest.raises(InvalidInputError, match="keep_states: only environments in JAX"):
        learner.init(jnp.zeros((N, 1)), KEY)
