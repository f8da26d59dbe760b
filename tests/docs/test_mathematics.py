"""What docs/mathematics.md says and no other test checks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb

STATES, ACTIONS, DISCOUNT, TEMPERATURE = 7, 3, 0.9, 0.4
RNG = np.random.default_rng(0)
P = jnp.asarray(RNG.dirichlet(np.ones(STATES), size=(STATES, ACTIONS)))
REWARD, TABLE = jnp.asarray(RNG.normal(size=(2, STATES, ACTIONS)))


def solve(reward):
    # Without errors from compiled code, compiled programs are kept between runs of the tests.
    return sb.solve(mdp(reward), throw=False)


def mdp(reward):
    rho = jnp.full(STATES, 1 / STATES)
    return sb.SoftMDP(sb.Dense(P), reward, DISCOUNT, TEMPERATURE, rho)


@pytest.fixture(scope="module")
def policy():
    return solve(REWARD).policy


def system(policy):
    """I - γP_π."""
    return mdp(REWARD).policy_system(policy).as_matrix()


def push(table):
    return DISCOUNT * jnp.einsum("sa,sat->t", table, P)


def test_signed_occupancy_flows_with_no_source():
    gradient = jax.jit(jax.grad(lambda r: jnp.sum(TABLE * solve(r).policy)))(REWARD)
    np.testing.assert_allclose(gradient.sum(axis=1), push(gradient), atol=1e-12)
    assert abs(gradient.sum()) < 1e-12


def test_leader_return(policy):
    """μ = (c + yπ)/τ with the leader's advantage."""
    own = {"reward": TABLE, "discount": 0.7}
    value = sb.policy_value(mdp(REWARD), policy, **own)
    advantage = TABLE + 0.7 * P @ value - value[:, None]
    c = sb.occupancy(mdp(REWARD), policy, discount=0.7) * advantage
    y = jnp.linalg.solve(system(policy).T, push(c))
    mu = (c + y[:, None] * policy) / TEMPERATURE
    gradient = jax.jit(jax.grad(lambda r: sb.policy_return(mdp(r), solve(r).policy, **own)))(REWARD)
    np.testing.assert_allclose(mu, gradient, rtol=1e-10, atol=1e-12)


def test_second_derivative_is_a_variance(policy):
    """(I - γP_π) d²V = Var_π(dQ)/τ and d²log π = (γP d²V - d²V)/τ."""

    def along(step):
        solution = solve(REWARD + step * TABLE)
        return solution.value, solution.q, solution.log_policy

    zero, one = jnp.zeros(()), jnp.ones(())
    tangent = jax.jit(lambda t: jax.jvp(along, (t,), (one,))[1])
    first, second = jax.jvp(tangent, (zero,), (one,))
    variance = jnp.sum(policy * first[1] ** 2, axis=1) - jnp.sum(policy * first[1], axis=1) ** 2
    expected = jnp.linalg.solve(system(policy), variance / TEMPERATURE)
    np.testing.assert_allclose(second[0], expected, rtol=1e-10)
    expected = (DISCOUNT * P @ expected - expected[:, None]) / TEMPERATURE
    np.testing.assert_allclose(second[2], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("states", "bound"), [(10, 0.58), (50, 0.15), (100, 0.077)])
def test_largest_normal_step(states, bound):
    """2/‖B‖² where every state leads to the same one and γ = 0.5."""
    b = np.eye(states)
    b[0] -= 0.5
    assert 2 / np.linalg.norm(b, 2) ** 2 == pytest.approx(bound, rel=0.02)


def test_backup_contracts():
    """‖TV - TW‖ ≤ γ‖V - W‖ in the maximum norm."""
    v, w = RNG.normal(size=(2, 100, STATES))
    backup = jax.vmap(lambda value: mdp(REWARD).respond(value).value)
    change = jnp.max(jnp.abs(backup(v) - backup(w)), axis=1)
    assert (change <= DISCOUNT * np.max(np.abs(v - w), axis=1)).all()


def test_adjoint_error_from_its_residual(policy):
    """‖w - w*‖₁ ≤ ‖b - Bw‖₁/(1 - γ)."""
    errors = RNG.normal(size=(100, STATES))
    residuals = errors @ system(policy)  # B = (I - γP_π)ᵀ
    bounds = jnp.sum(jnp.abs(residuals), axis=1) / (1 - DISCOUNT)
    assert (np.sum(np.abs(errors), axis=1) <= bounds).all()
