"""MRN's implicit term against a derivative through a step of the critics themselves."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobirl.core.errors import InvalidInputError
from sobirl.deep.discrete_sac import DiscreteSAC
from sobirl.deep.follower import FollowerView
from sobirl.deep.leaders.leader import Leader
from sobirl.deep.leaders.meta_reward import MetaReward
from sobirl.deep.leaders.preferences import PreferenceState
from sobirl.deep.losses import critic_loss
from sobirl.deep.networks import Architecture
from sobirl.deep.normalized_reward import NormalizedReward
from sobirl.deep.reward_model import RewardModel
from sobirl.deep.soft_q import SoftQLearning
from sobirl.experience import Fragment, flat_steps
from sobirl.prefs import Labelled, preference_loss

D, A, LENGTH, STREAMS, PAIRS, STEP = 3, 2, 4, 6, 8, 1e-4
KEY = jax.random.key(0)
terms = eqx.filter_jit(MetaReward.terms)


def fragments(*shape, seed):
    random = np.random.default_rng(seed)
    return Fragment(
        jnp.asarray(random.normal(size=(*shape, LENGTH, D)), jnp.float32),
        jnp.asarray(random.integers(0, A, (*shape, LENGTH)), jnp.int32),
        jnp.zeros((*shape, LENGTH)),
        jnp.zeros((*shape, LENGTH)),
        jnp.asarray(random.random((*shape, LENGTH)) < 0.8),
        jnp.zeros(shape, jnp.int32),
    )


def known(follower):
    """The follower's view, and what a leader knows; the last pair is none."""
    number = jnp.arange(PAIRS).at[-2:].set(-1)
    label = jnp.asarray(np.random.default_rng(1).random(PAIRS), jnp.float32)
    answers = Labelled(fragments(PAIRS, 2, seed=2), label, number)
    reward = RewardModel((D,), KEY, num_actions=A, architecture=Architecture(widths=(5,)))
    seen = NormalizedReward(reward, jnp.float32(0.3), jnp.float32(2.0))
    zero = jnp.int32(0)
    view = FollowerView(follower, follower.init(KEY), zero, zero)
    return view, PreferenceState(seen, answers, answers)


def test_the_term_is_the_derivative_through_a_step_of_the_critics():
    follower = DiscreteSAC((D,), num_actions=A, widths=(5,))
    view, state = known(follower)
    fresh = fragments(STREAMS, 2, seed=3)
    critic, answers = view.state.critic, state.labelled
    observation, action = flat_steps(fresh)
    weight = fresh.mask.reshape(-1).astype(jnp.float32)
    holds = answers.number >= 0

    def outer(model):
        """The loss after a small step on the reward, over its length."""
        reward = eqx.tree_at(lambda r: r.model, state.reward, model)
        target = reward(observation, action) + 0.7  # whatever follows does not depend on x

        def inner(critic):
            return critic_loss(follower.taken(critic, observation, action), target, weight)

        moved = jax.tree.map(lambda q, g: q - STEP * g, critic, jax.grad(inner)(critic))
        q = jnp.mean(follower.taken(moved, *flat_steps(answers.pair)), axis=0)
        returns = jnp.sum(q.reshape(answers.pair.mask.shape) * answers.pair.mask, axis=-1)
        loss = preference_loss(returns[:, 0] - returns[:, 1], answers.label)
        return jnp.sum(holds * loss) / jnp.sum(holds) / STEP

    expected = eqx.filter_jit(jax.grad(outer))(state.reward.model)
    # In either half the same answers and the same streams.
    both = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), (answers, fresh))
    answers, fresh = (
        jax.tree.map(lambda leaf, n=n: leaf[np.argsort(np.arange(2 * n) % n, kind="stable")], tree)
        for tree, n in zip(both, (PAIRS, STREAMS), strict=True)
    )
    state = eqx.tree_at(lambda s: s.labelled, state, answers)
    _, implicit, told = terms(MetaReward(), state, view, fresh, KEY)
    np.testing.assert_allclose(told["implicit_agreement"], 1, rtol=1e-5)
    twice = terms(MetaReward(weight=2.0), state, view, fresh, KEY)[1]
    for once, both in zip(*map(jax.tree.leaves, (implicit, twice)), strict=True):
        np.testing.assert_allclose(2 * once, both, rtol=1e-5)
    for found, wanted in zip(*map(jax.tree.leaves, (implicit, expected)), strict=True):
        assert np.abs(wanted).max() > 1e-4
        np.testing.assert_allclose(found, wanted, rtol=0.01, atol=0.001 * np.abs(wanted).max())


def test_a_reward_rises_where_higher_values_explain_the_answers():
    """The first fragments are preferred: a step against the term raises their steps' rewards."""
    follower = DiscreteSAC((D,), num_actions=A, widths=(5,))
    view, state = known(follower)
    answers = eqx.tree_at(lambda a: a.label, state.labelled, jnp.ones(PAIRS))
    state = eqx.tree_at(lambda s: s.labelled, state, answers)
    pairs = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), answers.pair)
    model = state.reward.model
    # The streams are the answered fragments themselves.
    fresh = jax.tree.map(lambda leaf: leaf.reshape(2 * PAIRS, 1, *leaf.shape[2:]), answers.pair)
    _, implicit, _ = terms(MetaReward(), state, view, fresh, KEY)
    after = jax.tree.map(lambda x, g: x - 0.1 * g, model, implicit)

    def better(model):
        reward = model(*flat_steps(pairs)).reshape(pairs.mask.shape) * pairs.mask
        first, second = jnp.sum(reward, axis=-1)
        return float(jnp.sum((first - second)[:-2]))

    assert better(after) > better(model)


def test_what_it_needs():
    assert isinstance(MetaReward(), Leader)
    with pytest.raises(InvalidInputError, match="weight: must not be negative, got -1"):
        MetaReward(weight=-1.0)
    view, state = known(SoftQLearning((D,), num_actions=A, widths=(5,)))
    with pytest.raises(InvalidInputError, match="follower: an actor and critics"):
        terms(MetaReward(), state, view, fragments(STREAMS, 2, seed=3), KEY)
    view, state = known(DiscreteSAC((D,), num_actions=A, widths=(5,)))
    with pytest.raises(InvalidInputError, match="fragments: two streams are needed, got 1"):
        terms(MetaReward(), state, view, fragments(1, 2, seed=3), KEY)
