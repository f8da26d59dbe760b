"""Discrete SAC: clipping, ends and cuts, targets and schedules; see also `test_followers`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probes import one_step, solved_process, trained
from sobirl.core.errors import InvalidInputError
from sobirl.deep.discrete_sac import DiscreteSAC

SETTINGS = {"widths": (64,), "learning_rate": 3e-3, "target_rate": 0.05}


def test_the_critics_learn_the_soft_solution():
    batch, solution = solved_process(0.8, 0.3)
    state, _ = trained(DiscreteSAC((4,), 0.8, 0.3, num_actions=3, **SETTINGS), batch, 3000)
    q = np.asarray(state.critic(jnp.eye(4)))
    assert np.abs(q - solution.q).max() < 0.05


def test_rewards_are_clipped_for_the_critics():
    batch = one_step([5.0, -5.0])
    follower = DiscreteSAC((1,), 0.8, 0.5, num_actions=2, reward_clip=1.0, **SETTINGS)
    state, _ = trained(follower, batch, 1000)
    np.testing.assert_allclose(state.critic(batch.observation[:1])[0, 0], [1, -1], atol=0.05)


def test_sign_of_the_temperature_update():
    batch = one_step([1.0, 0.0])
    for target, rises in ((2.0, True), (0.0, False)):  # no policy is that random, or that sharp
        follower = DiscreteSAC((1,), target_entropy=target, num_actions=2, **SETTINGS)
        state, _ = trained(follower, batch, 10)
        assert (state.log_temperature > 0) == rises


def test_no_bootstrap_after_the_end_and_bootstrap_after_a_cut():
    follower = DiscreteSAC((1,), 0.5, 0.5, num_actions=2, **SETTINGS)
    for ends, value in ((True, 1.0), (False, (1 + 0.5 * 0.5 * np.log(2)) / 0.5)):
        batch = one_step([1.0, 1.0], ends)
        state, _ = trained(follower, batch, 2000)
        np.testing.assert_allclose(state.critic(batch.observation[:1])[:, 0], value, atol=0.05)


def test_targets_are_copied_every_so_often():
    follower = DiscreteSAC((1,), num_actions=2, widths=(8,), target_period=3)
    batch = one_step([1.0, 0.0])
    copied = []
    for updates in (2, 3, 4):
        state, _ = trained(follower, batch, updates)
        same = jax.tree.map(lambda a, b: bool((a == b).all()), state.critic, state.target)
        copied.append(all(jax.tree.leaves(same)))
    assert copied == [False, True, False]


def test_learning_rate_decays_to_nothing():
    follower = DiscreteSAC((1,), num_actions=2, widths=(8,), decay_updates=5)
    batch = one_step([1.0, 0.0])
    states = [trained(follower, batch, updates)[0].actor for updates in (5, 9)]
    for a, b in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "wrong",
    [
        {"discount": 1.0},
        {"temperature": 0.0},
        {"learning_rate": -1.0},
        {"target_rate": 0.0},
        {"target_period": 0},
        {"reward_clip": 0.0},
    ],
)
def test_numbers_out_of_range(wrong):
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        DiscreteSAC((1,), num_actions=2, **wrong)
