"""A problem of tables as an environment: what it pays, and how it moves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from sobirl.core.errors import InvalidInputError
from sobirl.problems.four_rooms import FourRooms
from sobirl.problems.markov_game import DiscreteToy
from sobirl.problems.simulated import simulated

TOY = DiscreteToy()
X = jnp.array([[0.2, -0.3], [0.5, 0.1], [-0.4, 0.2]])
# In A the leader has played 0, the follower goes to B: states are (s, b), after the very first.
A0, TO_B = 3, jnp.int32(2)


def test_it_pays_and_moves_as_the_tables_say():
    given = simulated(TOY.problem(), TOY.x0())
    mdp = TOY.tables.follower(X)
    chance = np.asarray(mdp.transition.probabilities)[A0, 2]
    seen = jax.nn.one_hot(A0, 7, dtype=jnp.float32)
    with jax.enable_x64(False):
        x = jnp.asarray(np.asarray(X), jnp.float32)
        world = given["env"].with_x(x)
        keys = jax.random.split(jax.random.key(0), 2000)
        after, shown, paid, ended, cut = jax.jit(
            jax.vmap(lambda key: world.step(jnp.int32(A0), TO_B, key))
        )(keys)
        log_prob = jax.jit(lambda shown: world.log_prob(shown, seen, TO_B, x))
        told = np.exp([float(log_prob(row)) for row in np.eye(7, dtype=np.float32)[5:]])
        earned = given["incentive"](seen, TO_B, x), given["leader"](seen, TO_B, seen, x)
    assert not paid.any() and not ended.any() and not cut.any()
    np.testing.assert_array_equal(np.argmax(shown, axis=1), after)
    shares = np.bincount(np.asarray(after), minlength=7) / len(keys)
    np.testing.assert_allclose(shares, chance, atol=4 * 0.5 / np.sqrt(len(keys)))
    np.testing.assert_allclose(told, chance[5:], rtol=1e-5)
    assert earned == (TOY.bonus, 0.0)
    assert (given["discount"], given["leader_discount"]) == (0.99, 0.99)
    assert given["temperature"] == 0.05


def test_a_discount_of_0_ends_the_episode():
    def follower(pay):
        reward = jnp.array([[0.0, 1.0], [0.0, 0.0]]) + pay
        return sb.SoftMDP(sb.Dense(np.full((2, 2, 2), 0.5)), reward, [0.9, 0.0], 0.1, [1.0, 0.0])

    problem = sb.BilevelProblem(follower, sb.LeaderReturn(follower, lambda pay: np.eye(2)))
    given = simulated(problem, jnp.zeros(()))
    with jax.enable_x64(False):
        for state in (0, 1):
            *_, ended, _ = given["env"].step(jnp.int32(state), jnp.int32(0), jax.random.key(0))
            assert bool(ended) == (state == 1)
    assert (given["discount"], given["leader_discount"]) == (0.9, 0.9)


def test_other_problems_are_refused():
    four_rooms = FourRooms().problem()
    with pytest.raises(InvalidInputError, match="problem: must have no contexts and a LeaderRet"):
        simulated(four_rooms, jnp.zeros(105))

    def follower(x):
        return sb.SoftMDP(sb.Dense(np.eye(2)[:, None]), jnp.zeros((2, 1)), [0.9, 0.8], 1.0, [1, 0])

    problem = sb.BilevelProblem(follower, sb.LeaderReturn(follower, lambda x: np.zeros(2)))
    with pytest.raises(InvalidInputError, match="the follower's discount must be one number"):
        simulated(problem, jnp.zeros(()))
