"""Leaders of deep followers against theory, on a table where theory can be reckoned exactly."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

import sobirl as sb
from deep.tabular_pairs import (
    LINEAR,
    PREFERENCES,
    A,
    H,
    S,
    X,
    environments,
    follower_state,
    implicit_term,
    model,
    optimal_policy,
    pairs,
    with_table,
)
from estimators import assert_mean, assert_not_mean, compiled
from sobirl.core.errors import InvalidInputError
from sobirl.deep.discrete_sac import DiscreteSAC
from sobirl.deep.follower import FollowerView
from sobirl.deep.leaders.leader import Leader
from sobirl.deep.leaders.leading import Leading
from sobirl.deep.leaders.moving_mean import MovingMean
from sobirl.deep.leaders.preference_loss import PreferenceLoss
from sobirl.deep.leaders.preferences import PreferenceState
from sobirl.deep.leaders.win_rate import WinRate
from sobirl.deep.normalized_reward import NormalizedReward
from sobirl.deep.policy_score import PolicyScore
from sobirl.deep.reward_learning import RewardLearner
from sobirl.deep.reward_model import RewardModel
from sobirl.experience import Fragment
from sobirl.prefs import Labelled, preference_entropy

BATCHES, STREAMS, ASKED = 150, 256, 512
FULL = PolicyScore("full")


@functools.cache
def truth():
    """The teacher's reward as a network."""
    fresh = RewardModel((S,), jax.random.key(0), num_actions=A, architecture=LINEAR)
    network = with_table(fresh.ensemble.members[0], PREFERENCES.truth)
    return eqx.tree_at(lambda m: m.ensemble.members[0], fresh, network)


def plainly(reward):
    """As critics see it where nothing is normalized."""
    return NormalizedReward(reward, jnp.zeros(()), jnp.ones(()))


def free(table):
    """What determines tables (...,S,A) that sum to 0."""
    np.testing.assert_allclose(table.sum(axis=(-1, -2)), 0, atol=1e-4)
    return table.reshape(*table.shape[:-2], S * A)[..., :-1]


def view(temperature=PREFERENCES.temperature, **more):
    """The follower with the best policy for X; without a temperature it adjusts its own."""
    follower = DiscreteSAC(
        (S,),
        PREFERENCES.discount,
        temperature,
        initial_temperature=PREFERENCES.temperature,
        num_actions=A,
        widths=(),
        **more,
    )
    zero = jnp.int32(0)
    return FollowerView(follower, follower_state(optimal_policy()), zero, zero, environments())


@functools.cache
def drawn():
    """Fragments (BATCHES,STREAMS,1) and answered pairs (BATCHES,ASKED) of the best policy."""
    fragments, _ = pairs(optimal_policy(), BATCHES, STREAMS // 2, seed=1)
    fragments = jax.tree.map(
        lambda leaf: leaf.reshape(BATCHES, STREAMS, 1, *leaf.shape[3:]), fragments
    )
    pair, label = pairs(optimal_policy(), BATCHES, ASKED, seed=2)
    return fragments, Labelled(pair, label, jnp.zeros(label.shape, jnp.int32))


@functools.cache
def references():
    """Fragments of another policy (12,)."""
    some, _ = pairs(np.full((S, A), 1 / A), 6, seed=5)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), some)


def terms(leader, seen, reward=None, batches=BATCHES, **more):
    """Both terms of every batch, tables (batches,S,A) of the reward's only member."""
    reward = plainly(model()) if reward is None else reward
    some = jax.tree.map(lambda leaf: leaf[:batches], drawn())
    keys = jax.random.split(jax.random.key(3), batches)
    found = _terms(leader, seen, reward, more, *some, keys)
    return [np.asarray(table, np.float64) for table in found]


@eqx.filter_jit
def _terms(leader, seen, reward, more, fragments, answered, keys):
    def one(fragments, answered, key):
        state = PreferenceState(reward, answered, answered, **more)
        both = leader.terms(state, seen, fragments, key)[:2]
        return [term.ensemble.members[0].head.weight.T for term in both]

    return jax.vmap(one)(fragments, answered, keys)


@functools.cache
def exactly(objective, moving):
    """dφ/dx (S,A) of an objective of the policy; τ is fixed, or keeps the mean entropy.

    That is over the states of the fragments, which are held fixed.
    """
    with jax.enable_x64(True):
        x, log_temperature = jnp.array(X), jnp.log(PREFERENCES.temperature)
        (tuples, chance) = trajectories(jnp.array(optimal_policy()), 1)
        visits = jnp.zeros(S).at[tuples.state[:, 0]].add(chance[:, None])

        def log_policy(x, log_temperature):
            mdp = PREFERENCES.follower(x)
            mdp = eqx.tree_at(lambda m: m.temperature, mdp, jnp.exp(log_temperature))
            return sb.solve(mdp).log_policy

        def entropy(*at):
            log_chance = log_policy(*at)
            return -visits @ jnp.sum(jnp.exp(log_chance) * log_chance, axis=1)

        def value(*at):
            return objective(jnp.exp(log_policy(*at)))

        by_x, by_temperature = compiled(jax.grad(value, (0, 1)))(x, log_temperature)
        if moving:
            kept = compiled(jax.grad(entropy, (0, 1)))(x, log_temperature)
            by_x -= by_temperature * kept[0] / kept[1]
        return np.asarray(by_x).reshape(S, A)


def trajectories(policy, count):
    """All tuples of so many trajectories, and their probabilities."""
    loss = sb.TrajectoryLoss(PREFERENCES.follower, PREFERENCES.loss, H, count)
    return loss.enumerate(PREFERENCES.follower(X), policy)


def loss(policy):
    """The paper's objective, its reward held fixed."""
    tuples, chance = trajectories(policy, 2)
    return chance @ PREFERENCES.problem().objective.losses(jnp.array(X), tuples)


def divergence(policy):
    """The same without the teacher's entropy."""
    tuples, chance = trajectories(policy, 2)
    worth = jnp.array(PREFERENCES.truth)[tuples.state, tuples.action].sum(axis=-1)
    answer = jax.nn.sigmoid(worth[:, 0] - worth[:, 1])
    return loss(policy) - chance @ preference_entropy(answer)


def lost(policy):
    """How likely the teacher prefers a reference."""
    tuples, chance = trajectories(policy, 1)
    worth = jnp.array(PREFERENCES.truth)[tuples.state, tuples.action].sum(axis=-1)[:, 0]
    theirs = jnp.array(references().reward, worth.dtype).sum(axis=-1)
    return chance @ jnp.mean(jax.nn.sigmoid(theirs - worth[:, None]), axis=1)


def compare(check, found, expected, moving):
    """Estimates with theory, in as many numbers as are free."""
    found, expected = (np.asarray(table) for table in (found, expected))
    if not moving:
        return check(free(found), free(expected))
    # log π as a reward, which the temperature undoes, is worth nothing: in every estimate alike.
    undone = np.log(optimal_policy())
    np.testing.assert_allclose((found * undone).sum(axis=(-1, -2)), 0, atol=1e-5)
    return check(free(found)[..., :-1], free(expected)[..., :-1])


@pytest.mark.slow  # ten seconds each to compile
@pytest.mark.parametrize("moving", [False, True])
def test_answers_make_the_mean_what_theory_says(moving):
    """Although the reward itself, which is wrong, labels all pairs."""
    _, found = terms(PreferenceLoss(score=FULL, correction=1.0), view(None if moving else 0.5))
    compare(assert_mean, found, exactly(loss, moving), moving)
    compare(assert_not_mean, found, exactly(loss, not moving), moving)


def test_the_exact_terms_are_those_of_the_library():
    np.testing.assert_allclose(exactly(loss, False), implicit_term("full"), atol=1e-6)


LABELLED = {
    "loss": (PreferenceLoss(score=FULL, correction=0.0), loss),
    "kl": (PreferenceLoss(score=FULL, correction=0.0, subtract_entropy=True), divergence),
    "win-rate": (WinRate(score=FULL, correction=0.0, reference="uniform"), lost),
}


# Ten seconds each to compile: the others are slow tests.
@pytest.mark.slow  # at horizon 0 the next test tells it
@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("name", LABELLED)
def test_labels_that_are_right_need_no_answers(name, moving):
    leader, objective = LABELLED[name]
    seen = view(None if moving else 0.5)
    _, found = terms(leader, seen, judges=truth(), reference=references())
    compare(assert_mean, found, exactly(objective, moving), moving)
    if name != "loss":
        compare(assert_not_mean, found, exactly(loss, moving), moving)


def first_action(table):
    """What determines tables (...,S,2) that sum to 0 in every state."""
    np.testing.assert_allclose(table.sum(axis=-1), 0, atol=1e-5)
    return table[..., 0]


def test_what_lowers_the_variance_leaves_the_mean():
    """Horizon 0; the reward's own labels and answers, then right labels."""
    plain = PreferenceLoss(baseline=False, correction=1.0)
    better = dataclasses.replace(plain, baseline=True)
    labels = dataclasses.replace(better, correction=0.0)
    noises = []
    for leader, judges in ((plain, None), (better, None), (labels, truth())):
        found = first_action(terms(leader, view(), judges=judges)[1])
        assert_mean(found, first_action(implicit_term(0)))
        noises.append(found.var(axis=0).sum())
    assert noises[1] < 0.8 * noises[0] and noises[2] < 0.2 * noises[1]
    wrong = first_action(terms(labels, view())[1])
    assert_not_mean(wrong, first_action(implicit_term(0)))


def test_a_reward_counts_as_the_critics_see_it():
    leader = PreferenceLoss()
    _, plain = terms(leader, view(), batches=2)
    _, scaled = terms(leader, view(), NormalizedReward(model(), jnp.ones(()), jnp.float32(3)), 2)
    np.testing.assert_allclose(scaled, 3 * plain, rtol=1e-4, atol=1e-6)
    clip = float(np.sort(np.abs(X))[-3] + 1e-3)  # two entries of the table lie outside
    _, clipped = terms(leader, view(reward_clip=clip), batches=2)
    outside = np.abs(X.reshape(S, A)) > clip
    assert outside.sum() == 2 and not clipped[:, outside].any()
    np.testing.assert_allclose(clipped[:, ~outside], plain[:, ~outside], rtol=1e-4, atol=1e-6)


def test_the_explicit_term_is_that_of_the_answers():
    found, _ = terms(PreferenceLoss(), view(), batches=1)
    answered = jax.tree.map(lambda leaf: leaf[0], drawn()[1])
    expected = eqx.filter_jit(RewardLearner.terms)(
        RewardLearner(), model(), answered, view(), jax.random.key(0)
    )[0]
    np.testing.assert_allclose(
        found[0], expected.ensemble.members[0].head.weight.T, rtol=1e-4, atol=1e-6
    )


def test_members_are_labelled_by_the_others():
    both = RewardModel((S,), jax.random.key(1), num_actions=A, architecture=LINEAR, members=3)
    fragments, answered = jax.tree.map(lambda leaf: leaf[0, :5], drawn())
    state = PreferenceState(plainly(both), answered, answered)
    logit, label = PreferenceLoss().labelled(state, fragments, lambda returns: returns)
    own = jax.nn.sigmoid(logit)
    np.testing.assert_allclose(label[1], (own[0] + own[2]) / 2, rtol=1e-5)
    judged = dataclasses.replace(state, judges=truth())
    _, label = PreferenceLoss().labelled(judged, fragments, lambda returns: returns)
    expected = jax.nn.sigmoid(fragments.reward.sum(axis=-1))
    np.testing.assert_allclose(label, np.stack([expected] * 3), rtol=1e-4)


def test_fragments_without_steps_do_not_count():
    fragments, answered = jax.tree.map(lambda leaf: leaf[0], drawn())
    fewer = jax.tree.map(lambda leaf: jnp.concatenate([leaf[:60], leaf[128:188]]), fragments)
    empty = jnp.zeros((8, *fragments.mask.shape[1:]), bool)
    some = jax.tree.map(lambda leaf: jnp.concatenate([leaf[:64], leaf[128:192]]), fragments)
    mask = some.mask.at[60:64].set(empty[:4]).at[124:].set(empty[4:])
    some = eqx.tree_at(lambda f: f.mask, some, mask)
    for leader in (PreferenceLoss(), WinRate(), PreferenceLoss(baseline=False)):
        state = PreferenceState(plainly(model()), answered, answered, references())
        weigh = eqx.filter_jit(leader.weights)
        weights = [np.asarray(weigh(state, given)) for given in (fewer, some)]
        there = np.delete(weights[1], [*range(60, 64), *range(124, 128)], axis=0)
        np.testing.assert_allclose(there, weights[0], rtol=1e-4, atol=1e-8)
        assert not weights[1][60:64].any()


# A bandit of two kinds that look alike: what is better in one is worse in the other, so that no
# reward explains all answers.
KINDS = np.array([[0.0, 1.0], [0.0, -2.5]])
LAMBDA, WARMTH = 1.0, 0.5


def slope(gap, weight):
    """The derivative in the gap of cross-entropy + weight · P(what was before is preferred)."""
    second = 1 / (1 + np.exp(-gap / WARMTH))
    policy = np.array([1 - second, second])
    kind, action = (grid.ravel() for grid in np.indices(KINDS.shape))
    worth, likely = KINDS[kind, action], policy[action] / 2
    answer = 1 / (1 + np.exp(worth[None] - worth[:, None]))
    apart = action[:, None] - action[None]
    explicit = (1 / (1 + np.exp(-gap * apart)) - answer) * apart
    beaten = (1 - answer) @ likely
    by_action = np.array([beaten[action == a].mean() for a in range(2)])
    implicit = policy[0] * policy[1] / WARMTH * (by_action[1] - by_action[0])
    return likely @ explicit @ likely + weight * implicit


@eqx.filter_jit
def descended(leader, steps, key):
    """The gap between the actions' rewards after so many steps, and its mean over the last half."""
    follower = DiscreteSAC((1,), 0.0, WARMTH, num_actions=2, widths=())
    fresh = follower.init(key)
    first = RewardModel((1,), key, num_actions=2, architecture=LINEAR)
    zeros = jnp.zeros((2, 1))
    first = eqx.tree_at(
        lambda m: (m.ensemble.members[0].head.weight, m.ensemble.members[0].head.bias),
        first,
        (zeros, jnp.zeros(2)),
    )

    def fragments(state, shape, key):
        kind_key, action_key = jax.random.split(key)
        observation = jnp.ones((*shape, 1, 1))
        action, log_prob = follower.act(state, observation.reshape(-1, 1), action_key)
        action, log_prob = (leaf.reshape(*shape, 1) for leaf in (action, log_prob))
        kind = jax.random.randint(kind_key, (*shape, 1), 0, 2)
        reward = jnp.asarray(KINDS, jnp.float32)[kind, action]
        there = jnp.ones((*shape, 1), bool)
        return Fragment(observation, action, reward, log_prob, there, jnp.zeros(shape, jnp.int32))

    def step(model, key):
        keys = jax.random.split(key, 5)
        head = model.ensemble.members[0].head
        state = eqx.tree_at(
            lambda s: (s.actor.head.weight, s.actor.head.bias),
            fresh,
            (head.weight / WARMTH, head.bias / WARMTH),
        )
        pair = fragments(state, (256, 2), keys[0])
        total = pair.reward[..., 0]
        label = jax.random.bernoulli(keys[1], jax.nn.sigmoid(total[:, 0] - total[:, 1]))
        answered = Labelled(pair, label.astype(total.dtype), jnp.zeros(256, jnp.int32))
        known = PreferenceState(
            plainly(model),
            answered,
            answered,
            fragments(state, (64,), keys[2]),
        )
        seen = FollowerView(follower, state, jnp.int32(0), jnp.int32(0))
        made = fragments(state, (64, 1), keys[3])
        explicit, implicit, _ = leader.terms(known, seen, made, keys[4])
        model = jax.tree.map(lambda x, a, b: x - 0.3 * (a + b), model, explicit, implicit)
        table = model.table(jnp.ones((1, 1)))[0, 0]
        return model, table[1] - table[0]

    gaps = jax.lax.scan(step, first, jax.random.split(key, steps))[1]
    return jnp.mean(gaps[steps // 2 :])


def test_win_rate_finds_its_known_optimum():
    """Where a reward cannot explain all answers it is right about what makes the policy better."""
    naive, aware = (brentq(slope, -9, 9, args=(weight,)) for weight in (0.0, LAMBDA))
    assert aware < naive - 0.3
    leader = WinRate(weight=LAMBDA, correction=1.0)
    found = float(descended(leader, 600, jax.random.key(0)))
    assert found == pytest.approx(aware, abs=0.1)
    unaware = float(descended(dataclasses.replace(leader, weight=0.0), 600, jax.random.key(0)))
    assert unaware == pytest.approx(naive, abs=0.1)


def test_the_first_of_a_moving_mean_is_not_held_back():
    average = MovingMean(momentum=0.5)
    once = {"x": jnp.ones(2)}
    state, mean = average.update(average.init(once), {"x": jnp.full(2, 3.0)})
    np.testing.assert_allclose(mean["x"], 3.0, rtol=1e-6)
    state, mean = average.update(state, jax.tree.map(jnp.negative, once))
    np.testing.assert_allclose(mean["x"], (3 - 2) / 3, rtol=1e-6)
    assert state.count == 2


def test_leaders_keep_the_contract():
    for leader in (PreferenceLoss(), WinRate()):
        assert isinstance(leader, Leader)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PreferenceLoss(correction=1.5), "correction: must be between 0 and 1, got 1.5"),
        (lambda: PreferenceLoss(weight=-1.0), "weight: must not be negative, got -1"),
        (lambda: WinRate(reference="later"), "reference"),
        (lambda: PolicyScore("long"), "horizon"),
        (lambda: PolicyScore(actions=0), "actions: must be positive, got 0"),
        (lambda: MovingMean(momentum=1.0), r"momentum: must be in \[0, 1\), got 1.0"),
        (lambda: Leading(PreferenceLoss(), fragments=3), "fragments: must be at least 4, got 3"),
        (lambda: Leading(PreferenceLoss(), start=-1), "start: must not be negative, got -1"),
        (lambda: terms(WinRate(), view(), batches=1), "reference: there are no reference"),
        (lambda: few(), "fragments: four streams are needed, got 3"),
        (lambda: unseen(), "horizon: above 0 needs environments in JAX"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises((InvalidInputError, TypeError), match=message):
        make()


def few():
    fragments, answered = jax.tree.map(lambda leaf: leaf[0], drawn())
    fragments = jax.tree.map(lambda leaf: leaf[:3], fragments)
    state = PreferenceState(plainly(model()), answered, answered)
    return PreferenceLoss().terms(state, view(), fragments, jax.random.key(0))


def unseen():
    seen = dataclasses.replace(view(), environments=None)
    return terms(PreferenceLoss(score=FULL), seen, batches=1)
