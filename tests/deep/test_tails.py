"""Tails of the implicit term: against theory on a table, and on a way that is known by heart."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from deep.tabular_pairs import (
    A,
    S,
    environments,
    gradients,
    implicit_term,
    optimal_policy,
    pairs,
)
from estimators import assert_mean, assert_not_mean
from sobirl.core.errors import InvalidInputError
from sobirl.deep.actor_learner import ActorLearner
from sobirl.deep.compiled_loop import CompiledLoop
from sobirl.deep.discrete_sac import DiscreteSAC
from sobirl.deep.envs import CompiledEnvironments, Discrete, EnvSpec, make
from sobirl.deep.follower import FollowerView
from sobirl.deep.implicit import ImplicitTerm
from sobirl.deep.networks import Architecture, Network
from sobirl.deep.preference_learning import PreferenceLearning
from sobirl.deep.reward_learning import RewardLearner
from sobirl.deep.reward_model import RewardModel
from sobirl.deep.tails import tail_steps, tails
from sobirl.experience import Fragment
from sobirl.experience.replay import Replay
from sobirl.prefs import Oracle, OracleTeacher, Questions

SIZE = 256


def free(table):
    """What determines tables (...,S,2) that sum to 0."""
    np.testing.assert_allclose(table.sum(axis=(-1, -2)), 0, atol=1e-4)
    return table.reshape(*table.shape[:-2], S * A)[..., :-1]


@pytest.mark.parametrize(
    ("horizon", "batches"), [(1, 300), pytest.param("full", 150, marks=pytest.mark.slow)]
)
def test_tails_are_what_theory_says(horizon, batches):
    batches = pairs(optimal_policy(), batches, SIZE)
    term = ImplicitTerm(off_policy="none", horizon=horizon)
    found = free(gradients(term, *batches, environments()))
    assert_mean(found, free(implicit_term(horizon)))
    assert_not_mean(found, free(implicit_term(0)))


def test_horizon_0_is_biased():
    batches = pairs(optimal_policy(), 300, SIZE)
    found = gradients(ImplicitTerm(off_policy="none"), *batches)[..., 0]
    assert_not_mean(found, implicit_term("full")[..., 0])


def test_a_full_tail_leaves_out_less_than_a_thousandth():
    for discount in (0.5, 0.9, 0.99):
        steps = tail_steps("full", discount)
        assert discount**steps < 1e-3 <= discount ** (steps - 1)
    assert tail_steps("full", 0.0) == 0
    assert tail_steps(7, 0.9) == 7


SHAPE = (4, 1)  # a board of one column, so that frames can be stacked


class Corridor(eqx.Module):
    """Action 0 goes one place on, action 1 leaves; the episode ends there or at place 3."""

    cut: bool = eqx.field(default=False, static=True)
    spec: EnvSpec = eqx.field(
        default=EnvSpec("corridor", SHAPE, np.dtype(np.float32), Discrete(2), "test", 2),
        static=True,
    )

    def reset(self, key):
        return jnp.int32(0), _shown(0)

    def step(self, state, action, key):
        ends = (action == 1) | (state >= 2)
        no = jnp.zeros((), bool)
        terminated, truncated = (no, ends) if self.cut else (ends, no)
        return state + 1, _shown(state + 1), jnp.zeros(()), terminated, truncated


def _shown(place):
    return jax.nn.one_hot(place, 4, dtype=jnp.float32)[:, None]


def transparent(network, weight, bias):
    """A network that applies weights to its stacked frames, laid out as (k,4)."""
    channels = network.convolutions[0].weight.shape[1]
    identity = jnp.eye(channels)[:, :, None, None]
    return eqx.tree_at(
        lambda n: (n.convolutions[0].weight, n.convolutions[0].bias, n.head.weight, n.head.bias),
        network,
        (
            identity,
            jnp.zeros((channels, 1, 1)),
            jnp.moveaxis(weight, 1, -1).reshape(len(bias), -1),
            bias,
        ),
    )


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("action", [0, 1])
def test_a_way_that_is_known_by_heart(action, cut):
    """From place 0 on the policy goes to the places 1 and 2; then the episode is over."""
    k, discount = 2, 0.5
    architecture = Architecture(((k, 1, 1),), ())
    follower = DiscreteSAC((*SHAPE, k), discount, 1.0, num_actions=2)
    key = jax.random.key(0)
    network = Network((*SHAPE, k), 2, key, architecture)
    goes_on = transparent(network, jnp.zeros((2, k, 4)), jnp.array([60.0, -60]))
    small = DiscreteSAC((4,), num_actions=2, widths=(4,)).init(key)
    state = eqx.tree_at(lambda s: s.actor, small, goes_on)
    rewards = np.random.default_rng(0).standard_normal((2, k, 4)).astype(np.float32)
    reward = RewardModel((*SHAPE, k), key, num_actions=2, architecture=architecture)
    table = transparent(reward.ensemble.members[0], jnp.array(rewards), jnp.zeros(2))
    reward = eqx.tree_at(lambda m: m.ensemble.members[0], reward, table)
    # Two steps of which the first counts, and fragments of which none does.
    places = jnp.stack([_shown(0), _shown(0), _shown(1)])
    fragments = Fragment(
        observation=jnp.stack([places, places]),
        action=jnp.full((2, 2), action, jnp.int32),
        reward=jnp.zeros((2, 2)),
        log_prob=jnp.zeros((2, 2)),
        mask=jnp.array([[True, False], [False, False]]),
        taken_at=jnp.zeros(2, jnp.int32),
        state=jnp.tile(jnp.array([0, 1], jnp.int32), (2, 1)),
    )
    corridor = CompiledEnvironments(Corridor(cut), 5)
    view = FollowerView(follower, state, jnp.int32(0), jnp.int32(0), corridor)
    rolled_out = eqx.filter_jit(functools.partial(tails, rollout_steps=6))
    found = rolled_out(reward, view, fragments, key=key).rewards
    # At t = 1 the frames show places 0 and 1, at t = 2 places 1 and 2.
    going = sum(discount**t * (rewards[0, 0, t - 1] + rewards[0, 1, t]) for t in (1, 2))
    np.testing.assert_allclose(found, [0 if action == 0 else -going, 0], rtol=1e-5)


def learning(horizon, keep_states=True, loop=None):
    """A small run on CartPole."""
    count = 3
    loop = loop or CompiledLoop(make("CartPole-v1", count), make("CartPole-v1", 2))
    follower = DiscreteSAC((4,), 0.9, num_actions=2, widths=(8,))
    learner = ActorLearner(follower, Replay(count, 60, 8), 30, 1 / count, keep_states=keep_states)
    return PreferenceLearning(
        loop=loop,
        learner=learner,
        rewards=RewardLearner(ImplicitTerm(horizon=horizon), batch_size=4),
        model=Partial(RewardModel, (4,), num_actions=2, architecture=Architecture(widths=(8,))),
        pairs=(6, 4),
        calls=25,
        fragment_length=5,
        first_epochs=2,
        epochs=2,
    )


@pytest.mark.slow
def test_learning_on_cartpole_with_tails():
    run = learning(2)
    state = run.init(jax.random.key(0))
    questions = Questions(OracleTeacher(Oracle(), jax.random.key(1)))
    for _ in range(2):
        state, metrics = run.round(state, questions)
    assert np.isfinite(metrics["implicit_ratio"]) and metrics["implicit_ratio"] > 0
    # What was kept is the state before the step: CartPole shows all of it.
    kept = state.answers.queue.pair
    shown = [kept.state.x, kept.state.x_dot, kept.state.theta, kept.state.theta_dot]
    live = np.asarray(kept.mask)
    assert live[:10].any(axis=-1).all()
    np.testing.assert_array_equal(
        np.stack(shown, axis=-1)[live], np.asarray(kept.observation)[live]
    )


def test_tails_need_states():
    with pytest.raises(InvalidInputError, match="horizon: 2 of the implicit term needs environ"):
        learning(2, keep_states=False)
    with pytest.raises(InvalidInputError, match="horizon: full of the implicit term needs"):
        learning("full", loop=object())  # whatever is no CompiledLoop
    some, label = pairs(optimal_policy(), 1, 2)
    for fragments, where in (
        (some, None),
        (eqx.tree_at(lambda f: f.state, some, None), environments()),
    ):
        with pytest.raises(InvalidInputError, match="horizon: above 0 needs environments in JAX"):
            gradients(ImplicitTerm(horizon="full"), fragments, label, where)


def test_only_environments_in_jax_have_states():
    learner = learning(1).learner
    with pytest.raises(InvalidInputError, match="keep_states: only environments in JAX"):
        learner.init(jnp.zeros((3, 4)), jax.random.key(0))
