import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdps import ACTIONS, OPERATORS, STATES, random_mdp, random_policy, table
from sobirl.core import InvalidInputError
from sobirl.mdp import rollout
from sobirl.mdp.rollouts import Environments
from sobirl.mdp.rollouts import simulate as simulate_from
from sobirl.solvers import occupancy, policy_return

EPISODES, STEPS = 4000, 40


def simulate(mdp, seed=0, num_steps=STEPS, num_envs=EPISODES):
    log_policy = jnp.log(random_policy(0))
    return rollout(mdp, log_policy, jax.random.key(seed), num_steps, num_envs)


def assert_mean(samples, expected):
    """The mean of independent samples lies within 4.5 standard errors of what is expected."""
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    assert np.all(np.abs(samples.mean(axis=0) - expected) <= 4.5 * error)


@pytest.fixture(scope="module")
def mdp():
    return random_mdp(0, discount=0.6)


@pytest.fixture(scope="module")
def trajectories(mdp):
    return jax.tree.map(np.asarray, simulate(mdp))


def test_shapes(trajectories):
    assert {leaf.shape for leaf in jax.tree.leaves(trajectories)} == {(EPISODES, STEPS)}


def test_the_same_key_gives_the_same_bits(mdp, trajectories):
    again, other = simulate(mdp), simulate(mdp, seed=1)
    for name in ("state", "action", "reward", "next_state", "weight"):
        np.testing.assert_array_equal(getattr(again, name), getattr(trajectories, name))
    assert not np.array_equal(other.state, trajectories.state)


def test_steps_follow_each_other(mdp, trajectories):
    np.testing.assert_array_equal(trajectories.state[:, 1:], trajectories.next_state[:, :-1])
    np.testing.assert_array_equal(
        trajectories.reward, np.asarray(mdp.reward)[trajectories.state, trajectories.action]
    )


def test_weight_is_the_product_of_the_discounts(trajectories):
    np.testing.assert_allclose(trajectories.weight, np.tile(0.6 ** np.arange(STEPS), (EPISODES, 1)))


def test_first_states_follow_the_initial_distribution(mdp, trajectories):
    assert_mean(trajectories.state[:, :1] == np.arange(STATES), mdp.initial)


def test_actions_follow_the_policy(trajectories):
    visits = trajectories.state == 2
    actions = trajectories.action[visits]
    assert_mean(actions[:, None] == np.arange(ACTIONS), random_policy(0)[2])


@pytest.mark.parametrize("operator", OPERATORS)
def test_transitions_follow_the_law(operator):
    mdp = random_mdp(1, discount=0.6, operator=operator)
    paths = simulate(mdp)
    visits = (paths.state == 1) & (paths.action == 2)
    assert_mean(
        np.asarray(paths.next_state[visits])[:, None] == np.arange(STATES),
        table(mdp.transition)[1, 2],
    )


def test_mean_return_is_the_policy_return(mdp, trajectories):
    returns = (trajectories.weight * trajectories.reward).sum(axis=-1)
    assert_mean(returns, policy_return(mdp, random_policy(0), horizon=STEPS))


def test_weighted_visits_are_the_occupancy(mdp, trajectories):
    place = trajectories.state * ACTIONS + trajectories.action
    visits = np.stack(
        [(trajectories.weight * (place == i)).sum(axis=-1) for i in range(STATES * ACTIONS)],
        axis=-1,
    )
    assert_mean(visits, occupancy(mdp, random_policy(0), horizon=STEPS).ravel())


def test_weights_are_zero_once_the_episode_has_ended():
    discount = np.full((STATES, ACTIONS), 0.9)
    discount[3] = 0
    mdp = random_mdp(0, discount=discount)
    paths = jax.tree.map(np.asarray, simulate(mdp))
    ended = np.cumsum(paths.state == 3, axis=-1) - (paths.state == 3) > 0
    assert np.all(paths.weight[ended] == 0)
    assert np.all(paths.weight[~ended] > 0)
    returns = (paths.weight * paths.reward).sum(axis=-1)
    assert_mean(returns, policy_return(mdp, random_policy(0), horizon=STEPS))


def test_forbidden_actions_are_never_drawn():
    policy = jnp.zeros((STATES, ACTIONS)).at[:, 1].set(1.0)
    paths = rollout(random_mdp(0), jnp.log(policy), jax.random.key(0), 20, 50)
    assert np.all(paths.action == 1)


@pytest.fixture(scope="module")
def ending():
    """An MDP whose episodes end in state 3."""
    discount = np.full((STATES, ACTIONS), 0.9)
    discount[3] = 0
    return random_mdp(0, discount=discount)


@pytest.fixture(scope="module")
def restarted(ending):
    log_policy = jnp.log(random_policy(0))
    paths = rollout(ending, log_policy, jax.random.key(0), 50, 1000, autoreset=True)
    return jax.tree.map(np.asarray, paths)


def test_a_new_episode_begins_where_one_ended(restarted):
    ended = restarted.state[:, :-1] == 3
    np.testing.assert_array_equal(restarted.first[:, 1:], ended)
    assert restarted.first[:, 0].all()
    assert restarted.live.all()
    goes_on = restarted.state[:, 1:] == restarted.next_state[:, :-1]
    assert goes_on[~ended].all()
    assert not goes_on[ended].all()


def test_new_episodes_begin_anywhere_in_the_initial_distribution(ending, restarted):
    later = restarted.first.copy()
    later[:, 0] = False
    assert_mean(restarted.state[later][:, None] == np.arange(STATES), ending.initial)


def test_the_weight_is_reset_with_every_episode(restarted):
    age = np.zeros(restarted.state.shape)
    for step in range(1, age.shape[1]):
        age[:, step] = np.where(restarted.first[:, step], 0, age[:, step - 1] + 1)
    np.testing.assert_allclose(restarted.weight, 0.9**age)


def test_an_environment_has_one_episode_without_autoreset(ending):
    paths = jax.tree.map(np.asarray, simulate(ending, num_envs=1000))
    ended = np.cumsum(paths.state == 3, axis=-1) - (paths.state == 3) > 0
    np.testing.assert_array_equal(paths.live, ~ended)
    np.testing.assert_array_equal(paths.first, np.arange(STEPS) == np.zeros((1000, 1)))


def test_an_episode_is_given_up_once_its_weight_is_small():
    mdp, never = random_mdp(0, discount=0.5), jnp.zeros((STATES, ACTIONS), bool)
    begin = Environments.at(jnp.zeros(3, jnp.int32), float)
    restarts = jnp.full((10, 3), 4, jnp.int32)
    paths, end = jax.jit(
        lambda key: simulate_from(mdp, random_policy(0), key, begin, 10, never, restarts, 0.1)
    )(jax.random.key(0))
    np.testing.assert_array_equal(paths.first[0], [1, 0, 0, 0, 1, 0, 0, 0, 1, 0])
    np.testing.assert_allclose(paths.weight[0], [1, 0.5, 0.25, 0.125] * 2 + [1, 0.5])
    assert (paths.state[:, [4, 8]] == 4).all()
    np.testing.assert_allclose(end.weight, 0.25)
    assert not end.first.any()


def test_first_actions_can_be_forced():
    mdp, never = random_mdp(0), jnp.zeros((STATES, ACTIONS), bool)
    begin, forced = Environments.at(jnp.zeros(3, jnp.int32), float), jnp.array([2, 0, 1])
    policy = jnp.zeros((STATES, ACTIONS)).at[:, 1].set(1.0)
    paths, _ = simulate_from(mdp, policy, jax.random.key(0), begin, 4, never, first_action=forced)
    np.testing.assert_array_equal(paths.action[:, 0], forced)
    assert (paths.action[:, 1:] == 1).all()


@pytest.mark.parametrize("name", ["rollout_steps", "num_envs"])
def test_bad_numbers(name):
    numbers = {"rollout_steps": 1, "num_envs": 1, name: 0}
    with pytest.raises(InvalidInputError, match=f"{name}: must be at least 1, got 0"):
        rollout(random_mdp(0), jnp.log(random_policy(0)), jax.random.key(0), **numbers)
