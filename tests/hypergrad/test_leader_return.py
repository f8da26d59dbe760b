"""The leader's return as an objective, and as a loss of trajectories."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from estimators import INCENTIVES, compiled
from mdps import ACTIONS, STATES, random_mdp, random_policy

REWARDS = {
    "of states": (STATES,),
    "of actions": (STATES, ACTIONS),
    "of next states": (STATES, ACTIONS, STATES),
}
DISCOUNTS = {
    "follower's": None,
    "scalar": 0.6,
    "by state": np.linspace(0, 0.9, STATES),
    "table": np.full((STATES, ACTIONS), 0.5),
}


def follower(x):
    return random_mdp(0, discount=0.8, reward=x * jnp.ones((STATES, ACTIONS)))


@pytest.mark.parametrize("shape", REWARDS.values(), ids=REWARDS)
@pytest.mark.parametrize("discount", DISCOUNTS.values(), ids=DISCOUNTS)
def test_is_minus_the_return(shape, discount):
    table = jnp.asarray(np.random.default_rng(0).normal(size=shape))
    objective = sb.LeaderReturn(follower, lambda x: x * table, discount)
    x, policy = jnp.array(2.0), random_policy(0)
    zeros = jnp.zeros((STATES, ACTIONS))
    response = sb.Response(zeros[:, 0], zeros, jnp.log(policy))
    mdp = follower(x)
    expected = -sb.policy_return(mdp, policy, 2 * table, discount)
    np.testing.assert_allclose(objective(x, response), expected, rtol=1e-12)
    assert objective.reward_table(mdp, x).shape == (STATES, ACTIONS)
    assert objective.discount_table(mdp).shape == (STATES, ACTIONS)


def test_contexts_reach_both_functions():
    objective = sb.LeaderReturn(
        lambda x, context: follower(x + context),
        lambda x, context: x * context * jnp.ones(STATES),
    )
    problem = sb.BilevelProblem(lambda x, c: follower(x + c), objective, jnp.array([1.0, 3.0]))
    np.testing.assert_allclose(problem.value(jnp.array(2.0)), -(2 * 1 + 2 * 3) / 2 / (1 - 0.8))


def test_as_a_loss_of_trajectories_it_is_cut_off():
    """By less than γ_u^T/(1-γ_u) times the largest reward."""
    x = INCENTIVES.x0()
    objective = INCENTIVES.problem().objective
    response = sb.solve(INCENTIVES.follower(x)).response
    whole, largest = objective(x, response), jnp.abs(INCENTIVES.leader_reward(x)).max()
    for horizon in (1, 3, 6):
        loss = objective.as_trajectory_loss(horizon)
        cut = compiled(lambda x, response, loss=loss: loss(x, response))(x, response)
        horizon = sb.policy_return(
            INCENTIVES.follower(x),
            response.policy,
            INCENTIVES.leader_reward(x),
            0.7,
            horizon=horizon,
        )
        np.testing.assert_allclose(cut, -horizon, rtol=1e-12)
        assert abs(cut - whole) <= 0.7**horizon / (1 - 0.7) * largest


def test_nothing_counts_after_the_end_of_an_episode():
    mdp = random_mdp(0, discount=jnp.where(jnp.arange(STATES) == 1, 0.0, 0.8))
    objective = sb.LeaderReturn(lambda x: mdp, lambda x: x * jnp.ones(STATES))
    path = sb.Trajectories(jnp.array([[0, 1, 2]]), jnp.zeros((1, 3), int))
    loss = objective.as_trajectory_loss(3).losses(
        jnp.array(1.0), jax.tree.map(lambda a: a[None], path)
    )
    np.testing.assert_allclose(loss, -(1 + 0.8))
