"""Deep ML-IRL: the gradient against exact tables, and what files of demonstrations may hold."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from deep.tabular_pairs import FOLLOWER, PREFERENCES, A, S, with_table
from sobirl.deep.follower import FollowerView
from sobirl.deep.leaders.demonstration_likelihood import (
    DemonstrationLikelihood,
    DemonstrationState,
)
from sobirl.deep.networks import Architecture
from sobirl.deep.reward_model import RewardModel
from sobirl.deep.trajectories import Trajectories
from sobirl.experiments.deep_inverse_rl.demonstrations import read_arrays_of

STEPS, DISCOUNT, TEMPERATURE = 60, 0.8, PREFERENCES.temperature


def told_of(log_policy):
    """The follower with the policy of a table."""
    fresh = FOLLOWER.init(jax.random.key(0))
    state = eqx.tree_at(lambda s: s.actor, fresh, with_table(fresh.actor, np.asarray(log_policy)))
    return FollowerView(FOLLOWER, state, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def trajectories(mdp, seed, count):
    solution = sb.solve(mdp)
    steps = sb.rollout(mdp, solution.log_policy, jax.random.key(seed), STEPS, count)
    seen = jnp.eye(S, dtype=jnp.float32)
    observation, following = seen[steps.state], seen[steps.next_state]
    ones = jnp.ones(steps.state.shape, bool)
    reward = steps.reward.astype(jnp.float32)
    return Trajectories(observation, steps.action, following, reward, ones, ones[:, 0])


def test_the_gradient_is_that_of_the_exact_likelihood():
    """As below, in double precision but for the network."""
    with jax.enable_x64(True):
        _gradient_is_exact()


def _gradient_is_exact():
    """∇φ of the tabular objective, which passes implicitly through the soft MDP."""
    rng = np.random.default_rng(0)
    law = sb.Dense(rng.dirichlet(np.ones(S), size=(S, A)))
    start = np.full(S, 1 / S)
    mdp = sb.SoftMDP(law, rng.normal(size=(S, A)), DISCOUNT, TEMPERATURE, start)
    model = RewardModel(
        (S,), jax.random.key(0), num_actions=A, architecture=Architecture(widths=())
    )

    def table(model):
        return model.table(jnp.eye(S, dtype=jnp.float32))[0]

    present = eqx.tree_at(lambda m: m.reward, mdp, table(model).astype(jnp.float64))
    made, shown = trajectories(present, 1, 2000), trajectories(mdp, 2, 2000)
    view = told_of(sb.solve(present).log_policy)
    explicit, implicit, told = eqx.filter_jit(DemonstrationLikelihood(DISCOUNT).terms)(
        DemonstrationState(model, shown), view, made, jax.random.key(0)
    )
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(explicit))  # no penalty

    expert = sb.occupancy(mdp, sb.solve(mdp).policy)

    def exact(reward):
        solution = sb.solve(eqx.tree_at(lambda m: m.reward, mdp, reward))
        return -jnp.sum(expert * solution.log_policy)

    by_entry = jax.grad(exact)(present.reward)
    numbers = eqx.filter(model, eqx.is_inexact_array)
    pulled = jax.grad(lambda x: jnp.sum(by_entry * table(eqx.combine(x, model))))(numbers)
    for mine, true in zip(jax.tree.leaves(implicit), jax.tree.leaves(pulled), strict=True):
        np.testing.assert_allclose(mine, true, atol=0.15)  # 2000 episodes tell it to 0.04
    assert np.abs(np.concatenate([np.ravel(a) for a in jax.tree.leaves(pulled)])).max() > 0.5
    assert float(told["gap"]) > 0  # the demonstrations are worth more until the reward moves


def test_a_penalty_pulls_rewards_to_zero():
    model = RewardModel((S,), jax.random.key(0), num_actions=A)
    rng = np.random.default_rng(0)
    seen = jnp.eye(S, dtype=jnp.float32)[jnp.asarray(rng.integers(S, size=(2, 5)))]
    yes = jnp.ones((2, 5), bool)
    same = Trajectories(seen, jnp.zeros((2, 5), jnp.int32), seen, jnp.zeros((2, 5)), yes, yes[:, 0])
    view = told_of(np.full((S, A), -np.log(A)))
    terms = eqx.filter_jit(DemonstrationLikelihood(DISCOUNT, penalty=1.0).terms)
    explicit, implicit, _ = terms(DemonstrationState(model, same), view, same, jax.random.key(0))
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(implicit))  # nothing to tell apart
    assert any(np.any(leaf) for leaf in jax.tree.leaves(explicit))


@pytest.mark.parametrize("arguments", [{"discount": 1.5}, {"penalty": -1.0}])
def test_bad_arguments(arguments):
    with pytest.raises(sb.InvalidInputError, match=next(iter(arguments))):
        DemonstrationLikelihood(**arguments)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"action": None}, "no array action"),
        ({"action": np.zeros((2, 5, 1))}, r"action must begin with \(2, 4\)"),
        ({"observation": np.full((2, 4, 3), np.nan)}, "not finite"),
        ({"mask": np.array([[0, 1, 1, 1]] * 2)}, "mask must be true from the first"),
        ({"other": np.zeros(2)}, "other"),
    ],
)
def test_bad_files(tmp_path, change, words):
    arrays = {"observation": np.zeros((2, 4, 3)), "action": np.zeros((2, 4, 1))} | change
    path = tmp_path / "shown.npz"
    np.savez(path, **{name: a for name, a in arrays.items() if a is not None})
    with pytest.raises(sb.InvalidInputError, match=words):
        read_arrays_of(path)
