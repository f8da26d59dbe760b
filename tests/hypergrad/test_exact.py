"""The exact method against automatic differentiation through `solve` and the formula of μ."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from instances import random_tables


def estimate(method, problem, x, state=None):
    key = jax.random.key(0)
    state = method.init(problem, x, key) if state is None else state
    return jax.jit(functools.partial(method.estimate, problem))(x, state, key)


def leader_problem(seed=0, contexts=None, weights=None):
    """x moves reward, transitions, discount and temperature; the objective reads everything."""
    P, r, rho = random_tables(seed, 6, 3)
    rng = np.random.default_rng(seed + 100)
    features = rng.normal(size=(6, 3, 4))
    tilt = rng.normal(size=(6, 3, 6))

    def follower(x, context=0.0):
        transition = P * jnp.exp(0.1 * x["tilt"] * tilt)
        return sb.SoftMDP(
            transition=sb.Dense(transition / transition.sum(-1, keepdims=True)),
            reward=r + features @ x["theta"] + context,
            discount=jax.nn.sigmoid(2.0 + x["tilt"]),
            temperature=jnp.exp(0.1 * x["theta"][0]) * (0.5 + context),
            initial=rho,
        )

    def objective(x, response, context=0.0):
        income = sb.policy_return(follower(x, context), response.policy, reward=r**2)
        return income + jnp.sum(response.value**2) + jnp.vdot(r, response.log_policy + response.q)

    problem = sb.BilevelProblem(follower, objective, contexts, weights)
    return problem, {"theta": jnp.asarray(rng.normal(size=4)), "tilt": jnp.array(0.3)}


@pytest.mark.parametrize("solver", [sb.PolicyIteration(), sb.ValueIteration()])
def test_agrees_with_automatic_differentiation(solver):
    problem, x = leader_problem()
    hypergradient, _, metrics = estimate(sb.Exact(solver), problem, x)
    expected = jax.jit(jax.grad(problem.value))(x)
    for ours, theirs in zip(jax.tree.leaves(hypergradient), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8)
    # Of second degree in V, by two solves.
    np.testing.assert_allclose(metrics["objective"], problem.value(x), rtol=4 * solver.rtol)
    assert metrics["status"] == sb.Status.CONVERGED


def test_contexts_are_averaged_with_their_weights():
    contexts, weights = jnp.array([0.0, 0.2, 0.4]), jnp.array([0.5, 0.3, 0.2])
    together, x = leader_problem(contexts=contexts, weights=weights)
    hypergradient, _, metrics = estimate(sb.Exact(), together, x)

    @jax.jit
    def alone(context):
        return jax.value_and_grad(leader_problem(contexts=context[None])[0].value)(x)

    apart = [alone(context) for context in contexts]
    expected = sum(w * value for w, (value, _) in zip(weights, apart, strict=True))
    np.testing.assert_allclose(metrics["objective"], expected, rtol=1e-12)
    expected = sum(w * gradient["theta"] for w, (_, gradient) in zip(weights, apart, strict=True))
    np.testing.assert_allclose(hypergradient["theta"], expected, rtol=1e-8)


def test_reward_part_is_the_signed_occupancy():
    P, r, rho = random_tables(1, 5, 3)
    target = np.random.default_rng(2).dirichlet(np.ones(3), size=5)
    gamma, tau = 0.9, 0.4

    def follower(x):
        return sb.SoftMDP(sb.Dense(P), x, gamma, tau, rho)

    problem = sb.BilevelProblem(follower, lambda x, y: jnp.sum((y.policy - target) ** 2) / 2)
    mu, _, _ = estimate(sb.Exact(), problem, jnp.asarray(r))
    policy = np.asarray(sb.solve(follower(r)).policy)
    weighted = policy * (policy - target)
    U = np.eye(5)[:, None, :] - gamma * P
    b = np.einsum("sat,sa->t", U, weighted)
    w = np.linalg.solve((np.eye(5) - gamma * np.einsum("sat,sa->st", P, policy)).T, b)
    expected = (weighted - w[:, None] * policy) / tau
    # Its terms cancel: what was asked of π and w counts for their size, amplified.
    atol = sb.PolicyIteration().rtol / (1 - gamma) * np.max(np.abs(w)) / tau
    np.testing.assert_allclose(mu, expected, rtol=0, atol=atol)


def test_warm_start_saves_steps():
    problem, x = leader_problem()
    _, state, cold = estimate(sb.Exact(), problem, x)
    _, _, warm = estimate(sb.Exact(), problem, x, state)
    assert warm["solver_steps"] < cold["solver_steps"]


def test_unsolved_lower_level_is_flagged():
    problem, x = leader_problem()
    _, _, metrics = estimate(sb.Exact(sb.ValueIteration(max_steps=3)), problem, x)
    assert metrics["status"] == sb.Status.STEP_LIMIT
