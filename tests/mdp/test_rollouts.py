import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdps import ACTIONS, OPERATORS, STATES, random_mdp, random_policy, table
from sobirl.mdp import rollout
from sobirl.solve import occupancy, policy_return

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
