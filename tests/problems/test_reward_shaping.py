"""Reward shaping: two witnesses of the gradient, and the form that changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from estimators import compiled, gradient, value
from sobirl.core.errors import InvalidInputError
from sobirl.problems.reward_shaping import RewardShaping

X = jnp.asarray(np.random.default_rng(0).uniform(-0.2, 0.2, 104))


@pytest.mark.parametrize("form", ["free", pytest.param("potential", marks=pytest.mark.slow)])
def test_two_witnesses_of_the_gradient(form):
    problem = RewardShaping(form, 0.7, 0.1).problem()
    exact = gradient(problem, X)

    def through_sweeps(x):
        mdp = problem.lower(x)
        sweep = lambda value, _: (mdp.soft_value(mdp.action_value(value)), None)  # noqa: E731
        last, _ = jax.lax.scan(sweep, jnp.zeros(mdp.shape[0]), length=120)
        return problem.upper(x, mdp.respond(last))

    np.testing.assert_allclose(exact, compiled(jax.grad(through_sweeps))(X), rtol=1e-7, atol=1e-12)
    way = exact / np.linalg.norm(exact)
    at = compiled(lambda x: value(problem, x))
    slope = (at(X + 1e-5 * way) - at(X - 1e-5 * way)) / 2e-5
    np.testing.assert_allclose(np.linalg.norm(exact), slope, rtol=1e-6)
    assert slope > 1e-3


def test_a_potential_with_the_walkers_own_discount_changes_nothing():
    problem = RewardShaping("own", 0.7, 0.1).problem()
    at = compiled(lambda x: value(problem, x))
    np.testing.assert_allclose(at(X), at(0 * X), rtol=1e-9)
    np.testing.assert_allclose(gradient(problem, X), 0, atol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "none"}, "form: must be one of free, potential, own; got 'none'"),
        ({"discount": 1.0}, r"discount: must lie in \[0, 1\), got 1"),
        ({"temperature": 0.0}, "temperature: must be positive, got 0"),
    ],
)
def test_bad_instances_are_refused(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        RewardShaping(**arguments)
