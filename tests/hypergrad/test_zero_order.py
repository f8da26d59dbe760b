"""Zero-order estimates: their mean, and a bias of the order of σ²."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import sobirl as sb
from estimators import (
    BEST_WAGE,
    INCENTIVES,
    assert_mean,
    assert_not_mean,
    compiled,
    estimates,
    gradient,
    learned_wage,
)


def any_problem():
    """x enters the temperature, and the objective is no return."""

    def follower(x):
        mdp = INCENTIVES.follower(x)
        return eqx.tree_at(lambda m: m.temperature, mdp, jnp.exp(x["heat"]))

    problem = sb.BilevelProblem(follower, lambda x, response: jnp.sum(response.policy**3))
    return problem, {"pay": jnp.array([0.3, 0.2]), "heat": jnp.array(-0.5)}


@pytest.fixture(scope="module")
def by_scale():
    """Estimates (2000, 3) for a σ, all in the same directions."""
    problem, x = any_problem()
    state = sb.ZeroOrder(num_envs=None).init(problem, x, jax.random.key(0))
    keys = jax.random.split(jax.random.key(0), 2000)

    @compiled
    def run(scale):
        method = sb.ZeroOrder(scale=scale, num_envs=None)
        return jax.vmap(lambda key: ravel_pytree(method.estimate(problem, x, state, key)[0])[0])(
            keys
        )

    return lambda scale: np.asarray(run(jnp.asarray(scale)))


def test_the_mean_is_the_gradient(by_scale):
    assert_mean(by_scale(0.05), gradient(*any_problem()))


def test_the_bias_is_of_the_order_of_the_squared_scale(by_scale):
    """The noise of the directions cancels in the difference from a tiny σ."""
    at_once = by_scale(1e-4)
    small, large = (np.linalg.norm((by_scale(s) - at_once).mean(axis=0)) for s in (0.1, 0.2))
    assert 3 < large / small < 5
    assert_not_mean(by_scale(0.2) - at_once, np.zeros(3))


def test_samples_of_the_return():
    problem, x = INCENTIVES.problem(), INCENTIVES.x0()
    method = sb.ZeroOrder(scale=0.1, num_envs=8, rollout_steps=40)
    assert_mean(estimates(method, problem, x, 1000), gradient(problem, x))


@pytest.mark.slow
@pytest.mark.parametrize("num_envs", [None, 16])
def test_finds_the_best_wage(num_envs):
    method = sb.ZeroOrder(num_envs=num_envs, rollout_steps=20, directions=4)
    np.testing.assert_allclose(learned_wage(method), BEST_WAGE, atol=0.1)
