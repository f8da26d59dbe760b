"""Rounds of acting, asking and fitting: the better action is learned from preferences alone."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from probes import better_action, loop_of, small_learner
from sobirl.core.errors import InvalidInputError
from sobirl.deep.followers import FOLLOWERS
from sobirl.deep.implicit import ImplicitTerm
from sobirl.deep.leaders.leading import Leading
from sobirl.deep.leaders.preference_loss import PreferenceLoss
from sobirl.deep.leaders.win_rate import WinRate
from sobirl.deep.networks import Architecture
from sobirl.deep.normalized_reward import Normalization
from sobirl.deep.novelty import Novelty
from sobirl.deep.policy_score import PolicyScore
from sobirl.deep.preference_learning import PreferenceLearning
from sobirl.deep.reward_learning import RewardLearner
from sobirl.deep.reward_model import RewardModel
from sobirl.prefs import Oracle, OracleTeacher, Questions

KEY = jax.random.key(3)
N, CALLS = 4, 44  # four episodes of ten steps; those of the first round are random
PAIRS = (32, 16, 0, 16)
LEARNERS = {
    name: small_learner(N, 40 * N, 0.25, entry.load("discrete"), discount=0.5, temperature=0.1)
    for name, entry in FOLLOWERS.items()
    if entry.discrete
}
LEARNER = LEARNERS["sac"]
LOOP = loop_of(better_action(10), N, episodes=16)
ORACLE = Oracle(temperature=0.5)
PLAIN = RewardLearner(learning_rate=0.02, batch_size=16)
REWARDS = {
    "drlhf": PLAIN,
    "sobirl": RewardLearner(ImplicitTerm(), learning_rate=0.02, batch_size=16),
    "ground-truth": None,
    "loss": PLAIN,
    "win-rate": PLAIN,
}
MODEL = Partial(RewardModel, (1,), num_actions=2, architecture=Architecture((), (8,)))
LED = {  # from the second round on
    "loss": Leading(PreferenceLoss(PLAIN), start=60 * N, fragments=64),
    "win-rate": Leading(WinRate(PLAIN), start=60 * N, fragments=64, judges=MODEL),
}


def learning_by(method, follower="sac", **more):
    return PreferenceLearning(
        loop=LOOP,
        learner=LEARNERS[follower],
        rewards=REWARDS[method],
        model=MODEL,
        leading=LED.get(method),
        pairs=PAIRS,
        calls=CALLS,
        fragment_length=5,
        recent=CALLS,
        first_epochs=16,
        **more,
    )


def carried_out(learning, delay=0, rounds=4):
    """The state after some rounds, and the metrics of each."""
    questions = Questions(OracleTeacher(ORACLE, KEY, delay))
    state, rows = learning.init(KEY), []
    for _ in range(rounds):
        state, metrics = learning.round(state, questions)
        rows.append(metrics)
    return state, rows


@functools.cache
def result(method, follower="sac"):
    with jax.enable_x64(False):
        return carried_out(learning_by(method, follower))


WITH_SAC = [(method, "sac") for method in REWARDS]
WITH_OTHERS = [
    pytest.param("loss", name, marks=pytest.mark.slow) for name in LEARNERS if name != "sac"
]


@pytest.mark.parametrize(("method", "name"), WITH_SAC + WITH_OTHERS)
def test_the_better_action_is_learned(method, name):
    state, rows = result(method, name)
    follower, learner_state = LEARNERS[name].follower, state.loop[0]
    better = jnp.ones(1, jnp.int32)
    assert np.exp(follower.log_prob(learner_state.follower, jnp.ones((1, 1)), better)) > 0.9
    returns = LOOP.evaluate(follower, learner_state.follower, KEY, 99)
    assert returns.mean() > 9
    true_returns = [row["true_return"] for row in rows]
    assert true_returns[0] < 6 and true_returns[-1] > 8.5
    assert [row["episode_length"] for row in rows] == [10] * len(rows)
    assert [row["episodes"] for row in rows] == [4 * N] * len(rows)
    assert [row["environment_steps"] for row in rows] == [40 * N * (n + 1) for n in range(4)]


@pytest.mark.parametrize("method", ["drlhf", "sobirl"])
def test_the_reward_is_learned_from_all_pairs(method):
    state, rows = result(method)
    assert [row["asked"] for row in rows] == list(PAIRS)
    assert [row["pairs"] for row in rows] == np.cumsum(PAIRS).tolist()
    assert state.answers.queue.size == sum(PAIRS) and state.round == len(PAIRS)
    # Passes over the queue in batches of 16: 16 at first, then 4.
    assert state.reward.updates == 16 * 2 + 4 * (3 + 3 + 4)
    bad, good = state.reward.model(jnp.ones((2, 1)), jnp.arange(2, dtype=jnp.int32))
    assert good - bad > 0.5
    assert rows[1]["preference_accuracy"] > 0.65
    ratios = [row["implicit_ratio"] for row in rows]
    assert all(ratio > 0 for ratio in ratios) if method == "sobirl" else not any(ratios)


@pytest.mark.parametrize("method", LED)
def test_the_reward_follows_a_leader(method):
    state, rows = result(method)
    plain, _ = result("drlhf")
    assert [row["implicit_ratio"] > 0 for row in rows] == [False, True, True, True]
    assert all(abs(row["implicit_cosine"]) <= 1.001 for row in rows)
    assert all(abs(row["implicit_agreement"]) <= 1.001 for row in rows)
    assert state.leading.mean.count == 3
    # As many updates as without a leader.
    assert state.reward.updates == plain.reward.updates
    bad, good = state.reward.model(jnp.ones((2, 1)), jnp.arange(2, dtype=jnp.int32))
    assert good - bad > 0.5
    if method == "win-rate":
        assert state.leading.judges.updates == state.reward.updates
        assert state.leading.reference.mask.any(axis=-1).all()


def test_references_of_random_steps():
    uniform = Leading(WinRate(PLAIN, reference="uniform"), start=10**6, fragments=64)
    learning = dataclasses.replace(learning_by("win-rate"), leading=uniform)
    state, _ = carried_out(learning, rounds=2)  # of which the second is not random
    reference = state.leading.reference
    assert reference.mask.shape == (64, 5) and (reference.taken_at < 40).all()
    with pytest.raises(InvalidInputError, match="reference: uniform needs more random steps at"):
        greedy = dataclasses.replace(LEARNER, random_steps=5 * N)
        dataclasses.replace(learning, learner=greedy)


def test_one_that_is_alike_has_its_programs_already():
    compiled = []

    def listen(event, seconds, **more):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(more)

    carried_out(learning_by("drlhf"), rounds=1)
    jax.monitoring.register_event_duration_secs_listener(listen)
    carried_out(learning_by("drlhf"), rounds=1)
    assert compiled == []


def test_the_true_reward_asks_nobody():
    state, rows = result("ground-truth")
    assert state.answers.queue.size == 0 and state.reward.updates == 0
    assert "asked" not in rows[0]
    state, _ = learning_by("ground-truth").round(state)  # questions are not needed
    assert state.round == len(PAIRS) + 1


def test_the_seed_decides():
    again, rows = carried_out(learning_by("sobirl"), rounds=2)
    learning = learning_by("sobirl")
    other, _ = learning.round(
        learning.init(jax.random.key(4)), Questions(OracleTeacher(ORACLE, KEY))
    )
    assert rows == result("sobirl")[1][:2]
    led = carried_out(learning_by("win-rate"), rounds=3)
    assert bool(eqx.tree_equal(led, carried_out(learning_by("win-rate"), rounds=3)))
    first, _ = carried_out(learning_by("sobirl"), rounds=2)
    assert bool(eqx.tree_equal(first, again))
    assert not bool(eqx.tree_equal(first.reward, other.reward))


def test_answers_that_are_late_come_in_a_later_round():
    state, rows = carried_out(learning_by("drlhf"), delay=1)
    assert [row["asked"] for row in rows] == list(PAIRS)
    assert [row["pairs"] for row in rows] == [0, 32, 48, 48]
    assert np.isnan(rows[0]["preference_loss"])  # there was nothing to fit
    assert state.answers.queue.size == 48


def test_pairs_that_are_skipped_are_not_kept():
    questions = Questions(OracleTeacher(Oracle(skip_below=100), KEY))
    learning = learning_by("drlhf")
    state, metrics = learning.round(learning.init(KEY), questions)
    assert (metrics["asked"], metrics["pairs"]) == (32, 0)
    assert state.answers.queue.size == 0


def test_held_out_pairs_are_kept_apart(monkeypatch):
    told, answers = [], Questions.answers

    def listening(questions):
        found = answers(questions)
        told.extend([] if found is None else found[0].action)
        return found

    monkeypatch.setattr(Questions, "answers", listening)
    learning = learning_by("drlhf", held_out=0.3, capacity=40)
    state, rows = carried_out(learning, delay=1)
    assert [row["pairs"] for row in rows] == [0, 32, 48, 48]
    # Of every ten the 4th, 7th and 10th; 12 of 40 places are for them. The newest are kept.
    aside = np.isin(np.arange(48) % 10, (3, 6, 9))
    answers = state.answers
    for queue, which, capacity in ((answers.held_out, aside, 12), (answers.queue, ~aside, 28)):
        assert (queue.capacity, queue.added) == (capacity, which.sum())
        kept = queue.at(np.arange(capacity)).pair.action[::-1]
        np.testing.assert_array_equal(kept, np.stack(told)[which][-capacity:])
    assert np.isnan(rows[0]["held_out_loss"]) and rows[3]["held_out_loss"] > 0
    assert 0 <= rows[3]["held_out_accuracy"] <= 1 and 0 <= rows[3]["held_out_calibration"] <= 1
    with pytest.raises(InvalidInputError, match="held_out: must be at least 0 and below 1, got 1"):
        learning_by("drlhf", held_out=1.0)


def test_the_follower_learns_on_normalized_rewards():
    normalization = Normalization(0.5, center="mean")
    rewards = dataclasses.replace(REWARDS["drlhf"], normalization=normalization)
    learning = dataclasses.replace(learning_by("drlhf"), rewards=rewards)
    state, _ = carried_out(learning, rounds=2)
    assert state.reward.scale != 1
    steps = LEARNER.replay.sample(state.loop[0].replay, KEY)
    seen = state.reward.normalized(steps.observation, steps.action)
    reward = learning._reward_of_follower(state, KEY)
    np.testing.assert_array_equal(reward(steps.observation, steps.action), seen)
    # Two actions, one state: the deviation follows from how often each is in the replay.
    everything = state.loop[0].replay.experience
    share = float(jnp.mean(everything.action, where=everything.live))
    values = np.unique(np.asarray(seen))
    assert len(values) == 2
    spread = np.sqrt(share * (1 - share)) * (values[1] - values[0])
    assert spread == pytest.approx(0.5, rel=0.2)
    assert share * values[1] + (1 - share) * values[0] == pytest.approx(0, abs=0.15)


@pytest.mark.parametrize(("begin", "on"), [(0, True), (10**6, False)])
def test_the_implicit_term_waits(begin, on):
    learning = learning_by("sobirl")
    rewards = RewardLearner(ImplicitTerm(start=begin), learning_rate=0.02, batch_size=16)
    _, rows = carried_out(dataclasses.replace(learning, rewards=rewards), rounds=1)
    assert (rows[0]["implicit_ratio"] > 0) == on


@pytest.mark.parametrize("method", ["drlhf", "ground-truth"])
def test_new_states_are_the_reward_of_the_first_rounds(method):
    learning = learning_by(method, exploring_rounds=1)
    state = learning.init(KEY)
    assert isinstance(learning._reward_of_follower(state, KEY), Novelty)
    later = eqx.tree_at(lambda s: s.round, state, jnp.int32(1))
    reward = learning._reward_of_follower(later, KEY)
    assert reward is None if method == "ground-truth" else reward.model is later.reward.model


def test_walks_need_states():
    walking = RewardLearner(ImplicitTerm(horizon=2))
    with pytest.raises(InvalidInputError, match="horizon: 2 of the implicit term needs"):
        dataclasses.replace(learning_by("sobirl"), rewards=walking)
    led = Leading(PreferenceLoss(score=PolicyScore("full")))
    with pytest.raises(InvalidInputError, match="horizon: full of the implicit term needs"):
        dataclasses.replace(learning_by("sobirl"), leading=led)
