"""Learning a reward from preferences: derivatives, what counts, and a reward that is found."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sobirl.core.errors import InvalidInputError
from sobirl.deep.discrete_sac import DiscreteSAC
from sobirl.deep.follower import FollowerView
from sobirl.deep.implicit import ImplicitTerm
from sobirl.deep.networks import Architecture
from sobirl.deep.normalized_reward import Normalization
from sobirl.deep.reward_learning import RewardLearner
from sobirl.deep.reward_model import RewardModel
from sobirl.experience import Fragment
from sobirl.experience.replay import Transitions
from sobirl.prefs import Labelled, Oracle, PairQueue, preference_entropy, preference_loss

KEY = jax.random.key(0)
D, A, L = 3, 2, 4
LINEAR, TINY = Architecture(widths=()), Architecture(widths=(4,))
FOLLOWER = DiscreteSAC((D,), num_actions=A, widths=(4,), temperature=0.5)
TRUTH = np.random.default_rng(7).normal(size=(D, A))


def random_pairs(count, seed=0, dtype=np.float32):
    """Pairs of fragments of which some are shorter, rewarded with the truth."""
    rng = np.random.default_rng(seed)
    observation = rng.normal(size=(count, 2, L, D)).astype(dtype)
    action = rng.integers(0, A, (count, 2, L)).astype(np.int32)
    reward = np.take_along_axis(observation @ TRUTH, action[..., None], -1)[..., 0]
    length = rng.integers(1, L + 1, (count, 2, 1))
    return jax.tree.map(
        jnp.asarray,
        Fragment(
            observation=observation,
            action=action,
            reward=reward.astype(dtype),
            log_prob=np.full((count, 2, L), -np.log(A), dtype),
            mask=np.arange(L) < length,
            taken_at=np.full((count, 2), 90, np.int32),
        ),
    )


def small_model(architecture=TINY, **more):
    return RewardModel((D,), KEY, num_actions=A, architecture=architecture, **more)


def view(steps=100):
    """A follower that has taken so many steps."""
    state = FOLLOWER.init(jax.random.key(1))
    return FollowerView(FOLLOWER, state, *jnp.asarray(np.array([steps, 100], np.int32)))


def labelled(pairs, label, kept):
    return Labelled(pairs, label, jnp.where(kept, 0, -1))


update = eqx.filter_jit(RewardLearner.update)
fit = eqx.filter_jit(RewardLearner.fit)
logits_of = eqx.filter_jit(RewardLearner.logits)
answer = eqx.filter_jit(Oracle.answer)
terms_of = eqx.filter_jit(RewardLearner.terms)
members_of = eqx.filter_jit(RewardModel.members)
judge = eqx.filter_jit(RewardLearner.judge)
normalize = eqx.filter_jit(RewardLearner.normalize)
begun = eqx.filter_jit(RewardLearner.init)


def close(one, other, **tolerances):
    """Whether all arrays of two trees are."""
    near = jax.tree.map(lambda a, b: np.allclose(a, b, **tolerances), one, other)
    return all(jax.tree.leaves(near))


def gradient_of(state):
    """The gradient of the first update, from Adam's first moment."""
    return jax.tree.map(
        lambda moment: np.asarray(moment) / 0.1, optax.tree.get(state.optimizer, "mu")
    )


def test_gradient_of_the_preference_loss_against_finite_differences():
    with jax.enable_x64(True):
        learner = RewardLearner(temperature=0.7, noise=0.1, discount=0.9)
        pairs, label = random_pairs(5, dtype=np.float64), jnp.array([1.0, 0.0, 0.5, 1.0, 0.3])
        kept = jnp.array([True, True, True, False, True])
        model = small_model(members=2)
        batch = labelled(pairs, label, kept)
        state, metrics = update(learner, begun(learner, model), batch, view(), KEY)
        flat, rebuild = jax.flatten_util.ravel_pytree(model)

        @jax.jit
        def loss(flat):
            members = learner.logits(rebuild(flat), pairs)
            losses = [preference_loss(logits, label, 0.1) for logits in members]
            return jnp.mean(jnp.stack(losses)[:, kept])

        steps = 1e-5 * np.eye(len(flat))
        numeric = [(loss(flat + step) - loss(flat - step)) / 2e-5 for step in steps]
        gradient, _ = jax.flatten_util.ravel_pytree(gradient_of(state))
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-9)
        assert metrics["preference_loss"] == pytest.approx(float(loss(flat)), rel=1e-12)
        norm = np.linalg.norm(gradient)
        assert metrics["hypergradient_norm"] == pytest.approx(float(norm), rel=1e-10)


def test_logits_are_differences_of_returns():
    learner, pairs = RewardLearner(temperature=2.0, discount=0.5), random_pairs(6)
    model = small_model(members=3)
    logits = logits_of(learner, model, pairs)
    reward = np.asarray(
        members_of(model, pairs.observation.reshape(-1, D), pairs.action.reshape(-1))
    ).reshape(3, *pairs.mask.shape)
    after = np.maximum(np.asarray(pairs.mask).sum(-1, keepdims=True) - 1 - np.arange(L), 0)
    returns = np.sum(reward * pairs.mask * 0.5**after, axis=-1)
    np.testing.assert_allclose(logits, (returns[..., 0] - returns[..., 1]) / 2, rtol=1e-4)


@pytest.fixture(scope="module")
def taught():
    """A linear reward after 21 passes, of 19 updates each, over 600 answered pairs."""
    with jax.enable_x64(False):
        learner = RewardLearner(learning_rate=0.03, batch_size=32, weight_decay=1e-4)
        pairs = random_pairs(600)
        label, _ = answer(Oracle(), pairs, KEY)
        queue = PairQueue.init(jax.tree.map(lambda leaf: leaf[0], pairs), 600).add(pairs, label)
        state = begun(learner, small_model(LINEAR))
        return learner, fit(learner, state, queue, jnp.int32(21), view(), KEY)


def test_a_linear_reward_is_recovered(taught):
    _, (state, metrics) = taught
    states = np.random.default_rng(3).normal(size=(200, D)).astype(np.float32)
    table = np.asarray(state.model.table(jnp.asarray(states)))[0]
    found, truth = ((r - r.mean()).ravel() for r in (table, states @ TRUTH))
    assert found @ truth / np.linalg.norm(found) / np.linalg.norm(truth) > 0.97
    assert found @ truth / (truth @ truth) == pytest.approx(1, abs=0.25)  # the scale too
    test = random_pairs(300, seed=4)
    best, _ = answer(Oracle(temperature=0), test, KEY)
    logits = logits_of(RewardLearner(), state.model, test)[0]
    assert np.mean((logits > 0) == (best > 0.5)) > 0.9
    assert 0.6 < metrics["preference_accuracy"] < 1
    assert metrics["implicit_ratio"] == 0


def test_fit_makes_the_stated_number_of_passes(taught):
    learner, (state, _) = taught
    assert state.updates == 399
    queue = PairQueue.init(jax.tree.map(lambda leaf: leaf[0], random_pairs(600)), 600)
    for pairs, passes in ((0, 0), (0, 3), (600, 0)):
        some = queue.add(random_pairs(600), np.ones(600)) if pairs else queue
        after, metrics = fit(learner, state, some, jnp.int32(passes), view(), KEY)
        assert metrics["passes"] == passes and np.isnan(metrics["preference_loss"])
        assert bool(eqx.tree_equal(state, after))  # nothing to learn from, or no time to


def by_chance(count, seed=0, first=1.0):
    """Pairs whose labels say nothing, in a queue."""
    pairs = random_pairs(count, seed)
    label = np.where(np.arange(count) % 2, 0.0, first).astype(np.float32)
    queue = PairQueue.init(jax.tree.map(lambda leaf: leaf[0], pairs), count)
    return queue.add(pairs, label)


WIDE = Architecture(widths=(128,))
EAGER = RewardLearner(learning_rate=0.03, batch_size=16, patience=3)


def test_a_reward_that_only_held_out_pairs_can_tell_wrong():
    """It learns answers by heart that were given by chance."""
    queue, held_out = by_chance(32), by_chance(40, seed=1)
    state = begun(EAGER, small_model(WIDE))
    patient = dataclasses.replace(EAGER, patience=1000)
    known, seems = fit(EAGER, state, queue, jnp.int32(60), view(), KEY)
    assert seems["passes"] == 60 and seems["preference_accuracy"] > 0.85
    assert not any(name.startswith("held_out") for name in seems)
    really = judge(EAGER, known.model, held_out)
    assert really["held_out_loss"] > np.log(2) and really["held_out_accuracy"] < 0.75
    assert really["held_out_calibration"] > 0.1
    _, told = fit(EAGER, state, queue, jnp.int32(60), view(), KEY, held_out)
    assert 3 <= told["passes"] < 60 and told["held_out_loss"] < really["held_out_loss"]
    before = judge(EAGER, state.model, held_out)
    assert told["held_out_loss"] <= before["held_out_loss"]
    # The best of all passes is kept, wherever they end.
    kept, all_told = fit(patient, state, queue, jnp.int32(60), view(), KEY, held_out)
    assert all_told["passes"] == 60 and all_told["held_out_loss"] <= told["held_out_loss"]
    assert close(judge(EAGER, kept.model, held_out), {n: all_told[n] for n in before})


@pytest.mark.slow  # `test_preference_learning.py` learns with the term
def test_an_implicit_term_is_followed_in_the_last_pass():
    queue, held_out, state = by_chance(24), by_chance(40, seed=1), begun(EAGER, small_model())

    def fitted(passes, implicit):
        return fit(EAGER, state, queue, jnp.int32(passes), view(), KEY, held_out, implicit)

    none = jax.tree.map(jnp.zeros_like, state.model)
    plain, nothing = fitted(2, none)
    assert bool(
        eqx.tree_equal(plain, fit(EAGER, state, queue, jnp.int32(2), view(), KEY, held_out)[0])
    )
    assert nothing["implicit_ratio"] == 0
    term = jax.tree.map(lambda leaf: jnp.full_like(leaf, 0.01), state.model)
    led, told = fitted(3, term)
    assert told["passes"] == 3 and told["implicit_ratio"] > 0
    # After the best of two plain passes a third is made, and kept.
    by_hand, ratios = plain, []
    for number in (4, 5):
        sample_key, update_key = jax.random.split(jax.random.fold_in(KEY, number))
        batch = queue.sample(sample_key, 16)
        by_hand, metrics = update(EAGER, by_hand, batch, view(), update_key, term)
        ratios.append(metrics["implicit_ratio"])
    assert close(led, by_hand, rtol=1e-4, atol=1e-6)
    assert told["implicit_ratio"] == pytest.approx(np.mean(ratios), rel=1e-4)


def test_nothing_is_learned_from_held_out_pairs():
    """With as few as do not stop a fit, they do not matter at all."""
    queue, state = by_chance(24), begun(EAGER, small_model())
    one, other = (
        fit(EAGER, state, queue, jnp.int32(3), view(), KEY, by_chance(15, seed, first))[0]
        for seed, first in ((1, 1.0), (2, 0.5))
    )
    assert bool(eqx.tree_equal(one, other)) and one.updates == 3 * 2


def test_what_is_told_of_held_out_pairs():
    pairs = random_pairs(21)
    label = np.resize(np.array([1, 0.5, 0], np.float32), 21)
    queue = PairQueue.init(jax.tree.map(lambda leaf: leaf[0], pairs), 30)
    learner, model = dataclasses.replace(EAGER, noise=0.2), small_model(members=3)
    told = judge(learner, model, queue.add(pairs, label))
    z = np.asarray(logits_of(learner, model, pairs)).mean(axis=0)
    p = 0.8 / (1 + np.exp(-z)) + 0.1
    loss = -label * np.log(p) - (1 - label) * np.log(1 - p)
    assert told["held_out_loss"] == pytest.approx(loss.mean(), rel=1e-5)
    decided = label != 0.5
    right = np.mean(((z > 0) == (label > 0.5))[decided])
    assert told["held_out_accuracy"] == pytest.approx(right, rel=1e-6)
    gap = sum(abs(np.sum((label - p)[(10 * p).astype(int) == bin])) for bin in range(10))
    assert told["held_out_calibration"] == pytest.approx(gap / 21, rel=1e-4)
    assert all(np.isnan(value) for value in judge(learner, model, queue).values())


@pytest.mark.parametrize("center", ["median", "mean", "none"])
def test_critics_see_a_zero_and_a_deviation(taught, center):
    _, (state, _) = taught
    learner = RewardLearner(normalization=Normalization(0.2, center))
    rng = np.random.default_rng(1)
    observation = jnp.asarray(rng.normal(2, 3, (50, D)).astype(np.float32))
    action = jnp.asarray(rng.integers(0, A, 50).astype(np.int32))
    counts = np.arange(50) < 40
    steps = Transitions(
        observation, action, jnp.zeros(50), jnp.zeros(50, bool), observation, jnp.float32(counts)
    )
    after = normalize(learner, state, steps)
    seen = np.asarray(after.normalized(observation, action))
    if center == "none":
        assert after.zero == 0
    else:
        assert getattr(np, center)(seen[counts]) == pytest.approx(0, abs=1e-6)
    assert seen[counts].std() == pytest.approx(0.2, rel=1e-4)
    at = after.normalized.at(observation)
    np.testing.assert_allclose(at(action), seen, rtol=1e-4, atol=1e-6)
    assert bool(eqx.tree_equal((after.model, after.optimizer), (state.model, state.optimizer)))
    before = state.normalized(observation, action)  # as fitted, before there was a zero
    np.testing.assert_array_equal(before, state.model(observation, action))


def test_updates_see_windows_of_the_fragments():
    """Of 4 steps a fifth is less than one, so that nothing is left out."""
    pairs = random_pairs(200)
    pairs = eqx.tree_at(lambda f: f.mask, pairs, jnp.arange(L) < jnp.full((200, 2, 1), L))
    batch = labelled(pairs, jnp.ones(200), jnp.ones(200, bool))
    state = begun(EAGER, small_model())
    _, whole = update(EAGER, state, batch, view(), KEY)
    _, part = update(dataclasses.replace(EAGER, crop=0.5), state, batch, view(), KEY)
    _, same = update(dataclasses.replace(EAGER, crop=0.2), state, batch, view(), KEY)
    assert same["preference_loss"] == whole["preference_loss"] != part["preference_loss"]


def garbled(pairs, label, kept):
    """The same batch with nonsense where a pair does not count."""
    keep = np.asarray(kept)
    return jax.tree.map(
        lambda a, b: jnp.asarray(np.where(keep.reshape(-1, *(1,) * (a.ndim - 1)), a, b)),
        (pairs, label),
        (random_pairs(len(label), seed=99), 1 - label),
    )


@pytest.fixture(scope="module", params=["drlhf", "sobirl"])
def learner(request):
    implicit = ImplicitTerm(weight=1e3) if request.param == "sobirl" else None
    return RewardLearner(implicit, batch_size=8)


@pytest.fixture(scope="module")
def batch():
    with jax.enable_x64(False):
        pairs = random_pairs(8)
        return pairs, jnp.array([1, 0, 1, 1, 0, 0, 1, 0.5], jnp.float32), jnp.arange(8) < 5


def test_pairs_that_are_not_kept_do_not_count(learner, batch):
    pairs, label, kept = batch
    state = begun(learner, small_model())
    one, metrics = update(learner, state, labelled(*batch), view(), KEY)
    other, same = update(learner, state, labelled(*garbled(*batch), kept), view(), KEY)
    assert close((one, metrics), (other, same), rtol=1e-5, atol=1e-6)
    everything = jnp.ones(8, bool)
    _, different = update(learner, state, labelled(pairs, label, everything), view(), KEY)
    assert different["preference_loss"] != metrics["preference_loss"]


def test_the_implicit_term_is_at_most_so_long(batch):
    plain = RewardLearner(batch_size=8)
    state = begun(plain, small_model())

    def gradient(learner, steps=100):
        after, metrics = update(learner, state, labelled(*batch), view(steps), KEY)
        vector, _ = jax.flatten_util.ravel_pytree(gradient_of(after))
        return np.asarray(vector), float(metrics["implicit_ratio"])

    explicit, nothing = gradient(plain)
    assert nothing == 0
    free = RewardLearner(ImplicitTerm(start=50), largest_ratio=1e9, batch_size=8)
    whole, ratio = gradient(free)
    length = np.linalg.norm(explicit)
    assert np.linalg.norm(whole - explicit) == pytest.approx(ratio * length, rel=1e-4)
    bound = ratio / 2
    bounded, same = gradient(RewardLearner(ImplicitTerm(), largest_ratio=bound, batch_size=8))
    assert same == pytest.approx(ratio, rel=1e-5)  # what is reported is not shortened
    expected = (explicit + whole) / 2
    np.testing.assert_allclose(bounded, expected, rtol=1e-3, atol=1e-5 * length)
    off, nothing = gradient(free, steps=49)
    assert nothing == 0
    np.testing.assert_allclose(off, explicit, rtol=1e-5, atol=1e-6 * length)


def test_the_two_terms_one_by_one(batch):
    learner = RewardLearner(ImplicitTerm(), largest_ratio=1e9, batch_size=8)
    state = begun(learner, small_model())
    terms = terms_of(learner, state.model, labelled(*batch), view(), KEY)[:2]
    explicit, implicit = (np.asarray(jax.flatten_util.ravel_pytree(term)[0]) for term in terms)
    after, metrics = update(learner, state, labelled(*batch), view(), KEY)
    together = jax.flatten_util.ravel_pytree(gradient_of(after))[0]
    np.testing.assert_allclose(together, explicit + implicit, rtol=1e-3, atol=1e-4)
    lengths = np.linalg.norm(explicit), np.linalg.norm(implicit)
    assert metrics["implicit_ratio"] == pytest.approx(lengths[1] / lengths[0], rel=1e-3)
    cosine = explicit @ implicit / lengths[0] / lengths[1]
    assert metrics["implicit_cosine"] == pytest.approx(cosine, abs=1e-4)
    assert terms_of(RewardLearner(), state.model, labelled(*batch), view(), KEY)[1] is None


@pytest.mark.parametrize(
    "name",
    ["learning_rate", "batch_size", "temperature", "largest_ratio", "patience"],
)
def test_numbers_out_of_range(name):
    with pytest.raises(InvalidInputError, match=f"{name}: must be positive, got 0"):
        dataclasses.replace(
            RewardLearner(), **{name: 0 if name in ("batch_size", "patience") else 0.0}
        )


def test_shares_out_of_range():
    with pytest.raises(InvalidInputError, match="crop: must be at least 0 and below 1, got 1"):
        RewardLearner(crop=1.0)
    with pytest.raises(InvalidInputError, match="deviation: must be positive, got 0"):
        Normalization(0.0)


@pytest.mark.slow  # `test_a_linear_reward_is_recovered` is one
def test_a_linear_reward_cannot_be_right_everywhere():
    """The truth is s², which no line is; who is blind to s learns nothing of it."""
    state = jax.random.normal(jax.random.key(0), (256, 2, 1, 2), jnp.float32)
    action = jnp.zeros((256, 2, 1), jnp.int32)
    zeros = jnp.zeros((256, 2, 1))
    pair = Fragment(state, action, zeros, zeros, zeros == 0, jnp.zeros((256, 2), jnp.int32))
    square = 4 * state[:, :, 0, 0] ** 2
    label = jax.nn.sigmoid(square[:, 0] - square[:, 1])
    least = float(jnp.mean(preference_entropy(label)))
    queue = PairQueue.init(jax.tree.map(lambda leaf: leaf[0], pair), 256).add(pair, label)
    learner = RewardLearner(learning_rate=1e-2, weight_decay=0.0)

    @eqx.filter_jit
    def fitted(architecture):
        model = RewardModel((2,), jax.random.key(1), num_actions=1, architecture=architecture)
        state, _ = learner.fit(learner.init(model), queue, jnp.int32(100), view(), KEY)
        return jnp.mean(preference_loss(learner.logits(state.model, pair)[0], label))

    free = fitted(Architecture(widths=(32,)))
    line, blind = fitted(Architecture(widths=())), fitted(Architecture(widths=(32,), inputs=(1,)))
    assert free < least + 0.03
    assert line > least + 0.2 and blind > least + 0.2
