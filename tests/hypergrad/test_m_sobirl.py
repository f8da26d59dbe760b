"""M-SoBiRL: the authors' curve, its fixed point, and what it refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sobirl as sb
from instances import INSTANCE, random_tables
from sobirl.problems.random_mdp import RandomMDP, TargetPolicy


@pytest.fixture(scope="module")
def authors_run():
    instance = RandomMDP.load(INSTANCE)
    method = sb.MSoBiRL(
        adjoint_step_size=instance.adjoint_step_size,
        sweeps=instance.sweeps,
        initial_adjoint=instance.w0,
    )
    optimizer = optax.sgd(instance.learning_rate)
    return sb.minimize(instance.problem(), instance.x0, method, optimizer, num_steps=3000)


def test_reproduces_the_authors_curve(authors_run):
    with np.load(INSTANCE) as file:
        norms, objectives, x_final = (
            file[name] for name in ("hypergrad_norm", "objective", "x_final")
        )
    relative = np.abs(authors_run.history["hypergradient_norm"] / norms - 1)
    assert relative[norms > 1e-6].max() < 1e-9
    np.testing.assert_allclose(authors_run.history["objective"], objectives, rtol=1e-11)
    np.testing.assert_allclose(authors_run.final_x, x_final, atol=1e-15)
    assert authors_run.converged


def lower_level_problem(seed=3):
    P, r, rho = random_tables(seed, 6, 3)
    target = np.random.default_rng(seed).dirichlet(np.ones(3), size=6)

    def follower(x):
        return sb.SoftMDP(sb.Dense(P), r + x, 0.8, 0.5, rho)

    def objective(x, response):
        loss = jnp.sum((response.policy - target) ** 2) + jnp.sum(x**2)
        return loss + 0.1 * jnp.sum(response.value) + 0.1 * jnp.sum(response.q**2)

    return sb.BilevelProblem(follower, objective)


@pytest.mark.parametrize(
    ("step", "normalize"), [("normal", False), ("occupancy", False), ("occupancy", True)]
)
def test_fixed_point_is_the_exact_hyper_gradient(step, normalize):
    problem, x = lower_level_problem(), jnp.full((6, 3), 0.1)
    method = sb.MSoBiRL(step, adjoint_step_size=0.4, normalize=normalize, sweep_tolerance=0.0)
    key = jax.random.key(0)
    estimate = jax.jit(lambda state: method.estimate(problem, x, state, key))
    state = method.init(problem, x, key)
    for _ in range(2000):
        hypergradient, state, metrics = estimate(state)
    np.testing.assert_allclose(hypergradient, jax.grad(problem.value)(x), rtol=1e-6, atol=1e-9)
    assert metrics["residual"] < 1e-12
    assert metrics["adjoint_residual"] < 1e-8


def test_occupancy_step_contracts_by_the_discount():
    problem, x = lower_level_problem(), jnp.zeros((6, 3))
    method = sb.MSoBiRL(adjoint_step="occupancy", sweeps=200)
    key, residuals = jax.random.key(0), []
    state = method.init(problem, x, key)
    estimate = jax.jit(lambda state: method.estimate(problem, x, state, key))
    for _ in range(30):
        _, state, metrics = estimate(state)
        residuals.append(float(metrics["adjoint_residual"]))
    ratios = np.array(residuals[3:]) / np.array(residuals[2:-1])
    assert ratios.max() <= 0.8 + 1e-6


def test_a_normalized_policy_contracts_from_the_first_step():
    """Far from V's fixed point, with γ near 1, where the other policy has too much mass."""
    instance = dataclasses.replace(TargetPolicy.generate(10, 5, 20, seed=0), discount=0.99)
    problem, x = instance.problem(), jnp.asarray(instance.x0)
    key, last = jax.random.key(0), {}
    for normalize in (True, False):
        method = sb.MSoBiRL("occupancy", normalize=normalize)
        estimate = jax.jit(lambda state, method=method: method.estimate(problem, x, state, key))
        state, residuals = method.init(problem, x, key), []
        for _ in range(12):
            _, state, metrics = estimate(state)
            residuals.append(float(metrics["adjoint_residual"]))
        last[normalize] = max(residuals)
    assert last[True] <= 1.0
    assert last[False] > 10.0


def test_contexts_carry_their_own_state():
    P, r, rho = random_tables(5, 4, 2)

    def follower(x, shift):
        return sb.SoftMDP(sb.Dense(P), r * (x + shift), 0.7, 1.0, rho)

    def objective(x, response, shift):
        return jnp.sum(response.policy**2) + x**2

    shifts = jnp.array([0.0, 1.0])
    together = sb.BilevelProblem(follower, objective, contexts=shifts)
    method, key, x = sb.MSoBiRL("occupancy"), jax.random.key(0), jnp.array(0.5)
    state = method.init(together, x, key)
    estimate = jax.jit(lambda state: method.estimate(together, x, state, key))
    for _ in range(200):
        hypergradient, state, _ = estimate(state)
    assert state.value.shape == (2, 4)
    np.testing.assert_allclose(hypergradient, jax.grad(together.value)(x), rtol=1e-5)


def test_refuses_what_it_cannot_differentiate():
    P, r, rho = random_tables(0, 4, 2)
    problem = sb.BilevelProblem(
        lambda x: sb.SoftMDP(sb.Dense(P), r, 0.9, jnp.exp(x), rho),
        lambda x, response: response.value[0],
    )
    with pytest.raises(sb.InvalidInputError, match="temperature, which this method does not"):
        sb.minimize(problem, jnp.array(0.1), sb.MSoBiRL(), num_steps=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adjoint_step": "newton"}, "adjoint_step: must be 'normal' or 'occupancy'"),
        ({"sweeps": 0}, "sweeps: must be at least 1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(sb.InvalidInputError, match=message):
        sb.MSoBiRL(**options)


def test_initial_adjoint_of_another_size():
    problem = lower_level_problem()
    method = sb.MSoBiRL(initial_adjoint=jnp.zeros(5))
    with pytest.raises(sb.InvalidInputError, match=r"initial_adjoint: expected shape \(6,\)"):
        sb.minimize(problem, jnp.zeros((6, 3)), method, num_steps=1)


def test_step_sizes_batch():
    """Numbers in a method are leaves: several step sizes run under one vmap."""
    problem, x, key = lower_level_problem(), jnp.zeros((6, 3)), jax.random.key(0)

    def norm(learning_rate):
        method = sb.MSoBiRL(adjoint_step_size=learning_rate)
        state = method.init(problem, x, key)
        return jnp.linalg.norm(method.estimate(problem, x, state, key)[0])

    sizes = jnp.array([0.1, 0.5])
    np.testing.assert_allclose(jax.vmap(norm)(sizes), [norm(s) for s in sizes], rtol=1e-12)
