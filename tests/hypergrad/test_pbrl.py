"""PBRL: the gradient of its penalized objective, from the model and from walks, and its limit."""

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
    compiled,
    estimate,
    estimates,
    finite_differences,
    gradient,
    learned_wage,
)

PROBLEM, X = INCENTIVES.problem(), INCENTIVES.x0()
KINDS = pytest.mark.parametrize(
    "kind",
    [pytest.param("value", marks=pytest.mark.slow), "bellman"],  # much the same programs
)


def penalized(x, log_policy, kind, kappa):
    """F(x, π) = f + κ p, written down once more."""
    mdp, policy = INCENTIVES.follower(x), jnp.exp(log_policy)
    optimal = sb.solve(mdp, throw=False)
    if kind == "value":
        value = sb.policy_value(mdp, policy, regularized=True)
        penalty = jnp.vdot(mdp.initial, optimal.value - value)
    else:
        soft_mean = jnp.sum(policy * (optimal.q - mdp.temperature * log_policy), axis=-1)
        penalty = jnp.mean(optimal.value - soft_mean)
    objective = -sb.policy_return(mdp, policy, INCENTIVES.leader_reward(x), 0.7)
    return objective + kappa * penalty


@KINDS
def test_is_the_derivative_at_the_policy_in_use(kind):
    hypergradient, state, metrics = estimate(sb.PBRL(7.0, kind=kind, policy_steps=2), PROBLEM, X)
    assert metrics["penalty"] > 1e-3
    expected = finite_differences(lambda x: penalized(x, state.log_policy, kind, 7.0), X)
    np.testing.assert_allclose(hypergradient, expected, rtol=1e-6)


@KINDS
def test_the_bias_falls_with_the_penalty(kind):
    """By its reciprocal, once the policy has descended far enough."""
    state = sb.PBRL().init(PROBLEM, X, jax.random.key(0))

    @compiled
    def run(kappa):
        method = sb.PBRL(kappa, kind=kind, policy_steps=200)
        hypergradient, _, metrics = method.estimate(PROBLEM, X, state, jax.random.key(0))
        return ravel_pytree(hypergradient)[0], metrics["penalty"]

    exact = gradient(PROBLEM, X)
    runs = [run(jnp.asarray(kappa)) for kappa in (10.0, 100.0, 1000.0)]
    errors = np.array([np.linalg.norm(hypergradient - exact) for hypergradient, _ in runs])
    penalties = np.array([penalty for _, penalty in runs])
    np.testing.assert_allclose(errors[:-1] / errors[1:], 10, rtol=0.1)
    np.testing.assert_allclose(penalties[:-1] / penalties[1:], 100, rtol=0.1)


@KINDS
def test_walks_have_the_mean_of_the_model(kind):
    model, walks = (
        sb.PBRL(2.0, kind=kind, policy_steps=1, num_walks=num_walks) for num_walks in (None, 8)
    )
    assert_mean(estimates(walks, PROBLEM, X, 1000), estimate(model, PROBLEM, X)[0])


@pytest.mark.slow  # the bias by penalty is in the default run
def test_the_penalty_grows():
    state = sb.PBRL().init(PROBLEM, X, jax.random.key(0))._replace(step=jnp.int32(4))

    @compiled
    def run(penalty, growth):
        method = sb.PBRL(penalty, growth, policy_steps=1)
        return method.estimate(PROBLEM, X, state, jax.random.key(0))[0]["pay"]

    grown, large = (run(jnp.array(a), jnp.array(b)) for a, b in ((10.0, 0.5), (30.0, 0.0)))
    np.testing.assert_allclose(grown, large, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"kind": "bellman"}, {"num_walks": 64}], ids=str)
def test_finds_the_best_wage(options):
    wage = learned_wage(sb.PBRL(100.0, **options))
    np.testing.assert_allclose(wage, BEST_WAGE, atol=0.15)
