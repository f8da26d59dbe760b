"""Random incentives: derivatives, and what x reaches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from estimators import finite_differences, gradient, value
from sobirl.problems.random_incentives import RandomIncentives


@pytest.mark.parametrize("steers", [False, True])
def test_gradients(steers):
    instance = RandomIncentives.generate(4, 2, 3, seed=0, steers_transitions=steers)
    problem, x = instance.problem(), instance.x0()
    assert set(x) == ({"pay", "tilt"} if steers else {"pay"})
    expected = finite_differences(lambda x: value(problem, x), x)
    np.testing.assert_allclose(gradient(problem, x), expected, rtol=1e-6)


def test_a_tilt_moves_the_transitions_and_keeps_their_support():
    instance = RandomIncentives.generate(4, 2, 3, seed=0, steers_transitions=True)
    tilted = np.asarray(instance.follower(instance.x0()).transition.probabilities)
    np.testing.assert_allclose(tilted.sum(-1), 1)
    np.testing.assert_array_equal(tilted > 0, instance.transition > 0)
    assert not np.allclose(tilted, instance.transition)
    still = instance.follower(instance.x0() | {"tilt": 0.0}).transition.probabilities
    np.testing.assert_allclose(still, instance.transition)


def test_pay_costs_the_leader():
    instance = RandomIncentives.generate(4, 2, 3, seed=0)
    nothing = jax.tree.map(jnp.zeros_like, instance.x0())
    np.testing.assert_array_equal(instance.leader_reward(nothing), instance.leader)
    assert (instance.leader_reward(instance.x0()) < instance.leader).all()


def test_the_seed_decides():
    first, again, other = (RandomIncentives.generate(seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.features, again.features)
    assert not np.array_equal(first.features, other.features)
    assert sb.problems.random_incentives.RandomIncentives is RandomIncentives
