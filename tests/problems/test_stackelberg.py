"""Stackelberg games: published optima, two witnesses of the gradient, and the intruder's plan."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from estimators import compiled, finite_differences, gradient, value
from sobirl.core.errors import InvalidInputError
from sobirl.problems.games import GAMES, PLACES
from sobirl.problems.stackelberg import Stackelberg


@pytest.mark.parametrize("game", ["patrol", pytest.param("three-replies", marks=pytest.mark.slow)])
def test_two_witnesses_of_the_gradient(game):
    instance = Stackelberg(game, 0.2)
    problem, x = instance.problem(), instance.x0() / 2
    exact = gradient(problem, x)
    np.testing.assert_allclose(exact, finite_differences(lambda x: value(problem, x), x), rtol=1e-6)

    def through_sweeps(x):
        mdp = problem.lower(x)
        sweep = lambda value, _: (mdp.soft_value(mdp.action_value(value)), None)  # noqa: E731
        last, _ = jax.lax.scan(sweep, jnp.zeros(mdp.shape[0]), length=600)
        return problem.upper(x, mdp.respond(last))

    np.testing.assert_allclose(exact, compiled(jax.grad(through_sweeps))(x), rtol=1e-7)


@pytest.mark.parametrize("name", ["conitzer-sandholm", "three-replies"])
def test_the_published_optimum_is_where_it_should_be(name):
    """By linear programming's answer, a follower that breaks ties for the leader; then softly."""
    game = GAMES[name]()
    share = np.linspace(0, 1, 6001)
    shares = np.stack([share, 1 - share], axis=-1)
    replies = shares @ np.array(game.follower[0])
    best = replies >= replies.max(axis=1, keepdims=True) - 1e-9
    payoffs = np.where(best, shares @ np.array(game.leader[0]), -np.inf).max(axis=1)
    np.testing.assert_allclose(payoffs.max(), game.optimum)
    at = shares[payoffs.argmax()]
    instance = Stackelberg(name, 1e-4)
    x = jnp.log(jnp.asarray(at + np.array([-1, 1]) * 2e-3))  # the reply is no longer a tie
    assert 0 < game.optimum + value(instance.problem(), x) < 0.01


def test_the_intruder_plans_past_the_guard():
    """A guard at the gate alone: through the tunnel. Nobody comes where no way is worth it."""
    instance = Stackelberg("patrol", 1e-3)
    problem, fence = instance.problem(), PLACES.index("fence")
    at_the_gate = problem.respond(jnp.array([50.0, 0.0, 0.0]))
    np.testing.assert_allclose(at_the_gate.policy[fence], [0, 1, 0, 0], atol=1e-6)
    # By hand: the step into the tunnel, the vault, and from then on the entropy of free choices.
    entropy = 1e-3 * np.log(4) * 0.95**2 / 0.05
    np.testing.assert_allclose(at_the_gate.value[fence], -0.15 + 0.95 + entropy, atol=1e-6)
    np.testing.assert_allclose(value(problem, jnp.array([50.0, 0.0, 0.0])), 0.95 * 2, atol=1e-6)
    enough = jnp.log(jnp.array([0.36, 0.34, 0.30]))
    np.testing.assert_allclose(problem.respond(enough).policy[fence], [0, 0, 0, 1], atol=1e-3)
    assert value(problem, enough) < 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"game": "chess"}, "game: must be one of conitzer-sandholm, .*; got 'chess'"),
        ({"temperature": 0.0}, "temperature: must be positive, got 0"),
    ],
)
def test_bad_instances_are_refused(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        Stackelberg(**arguments)
