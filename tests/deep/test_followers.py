"""What every follower of the table must do, whatever it is made of."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from probes import one_step, solved_process, trained
from sobirl.core.errors import InvalidInputError
from sobirl.deep.envs import Continuous, Discrete, EnvSpec
from sobirl.deep.follower import Follower
from sobirl.deep.followers import FOLLOWERS, make_follower
from sobirl.experience.replay import Transitions
from sobirl.testing import same_bits

KEY = jax.random.key(0)
STATES, DISCOUNT, TEMPERATURE = 4, 0.8, 0.3
ACTIONS = {"discrete": Discrete(3), "continuous": Continuous([-1, -1], [1, 1])}
EVERY = [(name, kind) for name, entry in FOLLOWERS.items() for kind in ACTIONS if entry.load(kind)]
DISCRETE = [name for name, kind in EVERY if kind == "discrete"]
compiled = eqx.filter_jit
SETTINGS = {"widths": (64,), "learning_rate": 3e-3, "target_rate": 0.05}


def spec_of(kind, states=STATES):
    return EnvSpec("probe", (states,), np.dtype(np.float32), ACTIONS[kind], "test")


def follower_of(name, kind, **settings):
    usual = {"temperature": TEMPERATURE, "discount": DISCOUNT, "widths": (8,)}
    return make_follower(name, spec_of(kind), **usual | settings)


def states(count, first=0):
    return jnp.asarray(np.eye(STATES, dtype=np.float32)[(first + np.arange(count)) % STATES])


def batch_of(follower, count=12):
    """Some transitions with actions of its own."""
    action, _ = compiled(follower.random_action)(count, KEY)
    return Transitions(
        observation=states(count),
        action=action,
        reward=jnp.asarray(np.cos(np.arange(count, dtype=np.float32))),
        terminated=jnp.asarray(np.arange(count) % 3 == 0),
        next_observation=states(count, first=1),
        weight=jnp.asarray(np.ones(count, np.float32)),
    )


@pytest.fixture(scope="module", params=EVERY, ids="-".join)
def learned(request):
    """A follower, and what it has learned in a few updates."""
    with jax.enable_x64(False):
        follower = follower_of(*request.param)
        state, metrics = trained(follower, batch_of(follower), 20)
        return follower, state, metrics


def test_it_has_all_functions(learned):
    follower, _, metrics = learned
    assert isinstance(follower, Follower) and follower.discount == DISCOUNT
    assert all(np.isfinite(value) and np.ndim(value) == 0 for value in metrics.values())


def test_actions_and_their_probabilities(learned):
    follower, state, _ = learned
    some = states(500)
    action, log_prob = compiled(follower.act)(state, some, KEY)
    found = compiled(follower.log_prob)(state, some, action)
    np.testing.assert_allclose(found, log_prob, atol=1e-3)
    anything, flat = compiled(follower.random_action)(500, KEY)
    assert (anything.shape, anything.dtype) == (action.shape, action.dtype)
    best = compiled(follower.mode)(state, some)
    assert (best.shape, best.dtype) == (action.shape, action.dtype)
    if action.ndim == 1:
        np.testing.assert_allclose(flat, -np.log(3), rtol=1e-6)
        assert set(np.asarray(anything)) == {0, 1, 2}
        at_best = compiled(follower.log_prob)(state, some, best)
        assert (np.asarray(at_best) >= np.asarray(found) - 1e-5).all()
    else:
        np.testing.assert_allclose(flat, -2 * np.log(2), rtol=1e-6)
        assert np.abs(anything).max() <= 1 and np.abs(action).max() <= 1


def a_function(observation, action):
    """Something that depends on both (B,)."""
    total = action.reshape(len(action), -1).sum(axis=1).astype(jnp.float32)
    return jnp.sin(total + observation @ jnp.arange(STATES, dtype=jnp.float32))


def test_expectations_are_means_over_drawn_actions(learned):
    follower, state, _ = learned
    some, many = states(STATES), 20_000
    function = Partial(a_function, some)
    found = compiled(follower.expectation)(state, some, function, KEY, samples=many)
    repeated = jnp.asarray(np.repeat(some, many, axis=0))
    action, _ = compiled(follower.act)(state, repeated, jax.random.key(1))
    drawn = np.asarray(compiled(a_function)(repeated, action)).reshape(STATES, many)
    error = drawn.std(axis=1) / np.sqrt(many)
    assert (np.abs(found - drawn.mean(axis=1)) < 6 * error + 1e-5).all()


def test_no_gradient_of_an_expectation_reaches_the_policy(learned):
    follower, state, _ = learned
    arrays, rest = eqx.partition(state, eqx.is_inexact_array)

    def total(arrays, scale):
        def function(action):
            return scale * a_function(states(STATES), action)

        whole = eqx.combine(arrays, rest)
        return follower.expectation(whole, states(STATES), function, KEY, 3).sum()

    value, (by_policy, by_function) = jax.jit(jax.value_and_grad(total, (0, 1)))(arrays, 1.0)
    assert not any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(by_policy))
    assert by_function == pytest.approx(float(value), rel=1e-5)


def test_a_fixed_temperature_stays(learned):
    follower, state, _ = learned
    assert follower.temperature_of(state) == pytest.approx(TEMPERATURE, rel=1e-6)


def test_the_state_is_all_that_is_learned(learned):
    """It is made of arrays, as checkpoints want it, and decides with the key what comes next."""
    follower, state, _ = learned
    leaves = jax.tree.leaves(state)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    again, _ = trained(follower, batch_of(follower), 20)
    assert same_bits(state, again)
    other, _ = trained(follower, batch_of(follower), 20, seed=1)
    assert not same_bits(state, other)


def test_values_can_be_forgotten(learned):
    follower, state, _ = learned
    fresh = compiled(follower.forget_values)(state, KEY)
    assert not same_bits(state, fresh)
    assert follower.temperature_of(fresh) == follower.temperature_of(state)
    jax.eval_shape(follower.update, fresh, batch_of(follower), None, KEY)  # it can go on


def test_weights_of_0_do_not_count(learned):
    follower, state, _ = learned
    batch = batch_of(follower)
    counts = np.arange(12) < 3
    kept = eqx.tree_at(lambda b: b.weight, batch, jnp.asarray(counts.astype(np.float32)))
    reward = jnp.asarray(np.asarray(batch.reward) + np.float32(100) * ~counts)
    other = eqx.tree_at(lambda b: b.reward, kept, reward)
    update = compiled(follower.update)
    one, two = (update(state, some, None, KEY)[0] for some in (kept, other))
    assert same_bits(one, two)


@pytest.mark.parametrize("name", DISCRETE)
def test_soft_solution_of_a_small_mdp(name):
    batch, solution = solved_process(DISCOUNT, TEMPERATURE)
    follower = follower_of(name, "discrete", **SETTINGS)
    state, _ = trained(follower, batch, 3000)
    log_prob = compiled(follower.log_prob)(state, batch.observation, batch.action)
    policy = np.exp(log_prob).reshape(4, 3)
    assert np.abs(policy - solution.policy).max() < 0.03


@pytest.mark.parametrize("name", DISCRETE)
def test_learned_rewards_replace_the_environments(name):
    batch = one_step([0.0, 0.0, 0.0])
    spec = spec_of("discrete", states=1)
    follower = make_follower(name, spec, temperature=0.5, discount=DISCOUNT, **SETTINGS)
    state, _ = trained(follower, batch, 1000, reward=lambda s, a: a.astype(jnp.float32))
    policy = np.exp(compiled(follower.log_prob)(state, batch.observation, batch.action))
    expected = np.exp([0, 2, 4]) / np.exp([0, 2, 4]).sum()
    np.testing.assert_allclose(policy, expected, atol=0.02)


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_temperature_reaches_the_target_entropy(name, share):
    goal, spec = share * np.log(3), spec_of("discrete", states=1)
    follower = make_follower(name, spec, target_entropy=goal, initial_temperature=0.3, **SETTINGS)
    _, metrics = trained(follower, one_step([1.0, 0.5, 0.0]), 3000)
    assert metrics["entropy"] == pytest.approx(goal, abs=0.03)


def test_names_and_actions_that_do_not_fit():
    with pytest.raises(InvalidInputError, match="no 'ppo'; choose from sac, soft-q"):
        make_follower("ppo", spec_of("discrete"))
    with pytest.raises(
        InvalidInputError, match="soft-q cannot take the continuous actions of probe; choose from"
    ):
        make_follower("soft-q", spec_of("continuous"))
    for name in DISCRETE:
        with pytest.raises(InvalidInputError, match="discount: out of its range, got 1"):
            follower_of(name, "discrete", discount=1.0)
