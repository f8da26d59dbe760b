"""Markov games: known optima, two witnesses of the gradients, and the rules by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import sobirl as sb
from estimators import compiled, finite_differences, gradient, value
from sobirl.core.errors import InvalidInputError
from sobirl.problems.markov_game import DiscreteToy, RegulatorGame
from sobirl.solvers.riccati import Quadratic

TOY, GAME = DiscreteToy(), RegulatorGame()
X = jnp.array([[0.2, -0.3], [0.5, 0.1], [-0.4, 0.2]])
K = jnp.array([-9.0, -9.5])


def returns(game, x):
    return [float(value) for value in compiled(game.returns)(jnp.asarray(x))]


def test_the_known_optima():
    """At A the leader plays 1 just often enough that the follower comes back."""
    plays = lambda share: np.log([[1, 1], [1 - share, share], [1, 1]])  # noqa: E731
    assert returns(TOY, plays(0.1665))[0] == pytest.approx(27.316, abs=0.001)
    assert returns(DiscreteToy(2.0), plays(0.5026)) == pytest.approx([31.166, 59.750], abs=0.001)
    assert returns(GAME, [-9.96146, -10]) == pytest.approx([11.309, 18.359], abs=0.001)


def test_the_rules_of_the_toy():
    """All 150 steps, forward from S, in NumPy."""
    policy = np.asarray(sb.solve(TOY.tables.follower(X)).policy)[1:].reshape(3, 2, 3)
    plays = np.exp(X) / np.exp(X).sum(1, keepdims=True)
    where, discounted, plain = np.array([1.0, 0, 0]), 0.0, 0.0
    go = {(0, 0, 1): 1, (0, 1, 1): 1, (0, 0, 2): 2, (0, 1, 2): 2, (1, 0, 0): 0, (1, 0, 2): 2}
    go |= {(2, 0, 0): 0, (2, 1, 0): 0} | {(1, 1, move): 0 for move in range(3)}
    for step in range(150):
        earned = sum(where[0] * plays[0, b] * policy[0, b, 1] for b in (0, 1))
        discounted, plain = discounted + 0.99**step * earned, plain + earned
        after = np.zeros(3)
        for s, b, move in np.ndindex(3, 2, 3):
            after[go.get((s, b, move), s)] += where[s] * plays[s, b] * policy[s, b, move]
        where = after
    assert returns(TOY, X) == pytest.approx([discounted, plain], rel=1e-9)


def test_two_witnesses_of_the_toys_gradient():
    problem = TOY.problem()
    exact = gradient(problem, X)
    expected = finite_differences(lambda x: value(problem, x), X)
    np.testing.assert_allclose(exact, expected, rtol=1e-6, atol=1e-6)

    def through_sweeps(x):
        mdp = problem.lower(x)
        sweep = lambda value, _: (mdp.soft_value(mdp.action_value(value)), None)  # noqa: E731
        last, _ = jax.lax.scan(sweep, jnp.zeros(7), length=3000)
        return problem.upper(x, mdp.respond(last))

    np.testing.assert_allclose(exact, compiled(jax.grad(through_sweeps))(X).ravel(), atol=1e-8)


def test_two_witnesses_of_the_regulators_gradient():
    problem = GAME.problem()
    exact = gradient(problem, K)
    expected = finite_differences(lambda x: value(problem, x), K)
    np.testing.assert_allclose(exact, expected, rtol=1e-6, atol=1e-6)

    def through_sweeps(x):
        lower = problem.lower(x)
        quadratic = Quadratic(lower.A, lower.B, lower.Q, lower.R, lower.discount)
        sweep = lambda P, _: (quadratic.backup(P), None)  # noqa: E731
        P, _ = jax.lax.scan(sweep, lower.Q, length=500)
        gain, S = quadratic.control(P)
        zero, covariance = jnp.zeros(()), lower.temperature / 2 * jnp.linalg.inv(S)
        return problem.upper(x, sb.GaussianResponse(gain, covariance, P, zero, zero, jnp.int32(0)))

    unrolled = ravel_pytree(compiled(jax.grad(through_sweeps))(K))[0]
    np.testing.assert_allclose(exact, unrolled, rtol=1e-7, atol=1e-9)


def test_the_regulators_rewards_are_those_of_samples():
    response = sb.solve(GAME.regulator.follower(K))
    expected = float(GAME.regulator.rewards(K, response)[1])

    @compiled
    def second_step(key):
        act, lead = jax.random.split(key)
        b = K[0] + 1e-3 * jax.random.normal(lead, (100_000,))
        state = jnp.stack([jnp.ones_like(b), jnp.zeros_like(b), b], axis=-1)
        u = response.sample(act, state)[:, 0]
        off = jnp.stack([0.1 * b + 0.8, 0.1 * u]) / jnp.array([[0.2], [0.01]])
        return jnp.exp(-jnp.sum(off**2, axis=0) / 2)

    found = np.asarray(second_step(jax.random.key(0)))
    assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(len(found))
    assert expected > 0.1


@pytest.mark.parametrize("game", [DiscreteToy, RegulatorGame])
def test_bad_instances_are_refused(game):
    with pytest.raises(InvalidInputError, match="temperature: must be positive, got 0"):
        game(temperature=0.0)
