"""The users' gradient check must tell right from wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from instances import random_tables

P, R, RHO = random_tables(2, 5, 3)


def mdp(reward):
    return sb.SoftMDP(sb.Dense(P), reward, 0.9, 0.3, RHO)


def problem(transform=lambda x: x):
    return sb.BilevelProblem(
        lambda x: mdp(R + transform(x)), lambda x, response: jnp.sum(response.policy**3)
    )


X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)))


def test_right():
    check = sb.check_gradients(problem(), X)
    assert check.ok
    assert check.relative_error < 1e-7
    assert str(check).startswith("Good: Exact's hyper-gradient agrees")


def test_wrong():
    check = sb.check_gradients(problem(lambda x: 2 * x - jax.lax.stop_gradient(x)), X)
    assert not check.ok
    assert check.relative_error == pytest.approx(0.5, rel=1e-4)
    assert "Bad: Exact's hyper-gradient disagrees" in str(check)


def test_inexact_method_is_told_apart():
    check = sb.check_gradients(problem(), X, sb.MSoBiRL())
    assert not check.ok
    assert "MSoBiRL" in str(check)


def test_stationary_point():
    at_rest = sb.BilevelProblem(lambda x: mdp(R * x), lambda x, y: jnp.sum(y.policy**2))
    assert sb.check_gradients(at_rest, jnp.array(0.0)).ok


def test_rough_objective_is_undecided():
    rough = sb.BilevelProblem(
        lambda x: mdp(R), lambda x, response: jnp.sum(jnp.floor(1e4 * x) ** 2)
    )
    check = sb.check_gradients(rough, X)
    assert not check.ok
    assert "Undecided" in str(check) or "Bad" in str(check)


def test_not_finite():
    broken = sb.BilevelProblem(lambda x: mdp(R), lambda x, response: jnp.sum(jnp.log(-x)))
    with pytest.raises(sb.InvalidInputError, match="nothing can be checked there"):
        sb.check_gradients(broken, jnp.ones(3))


def test_no_solution_at_x():
    invalid = sb.BilevelProblem(
        lambda x: sb.SoftMDP(sb.Dense(P), R, 0.9, x, RHO), lambda x, response: response.value[0]
    )
    with pytest.raises(sb.ConvergenceError, match="x: The soft MDP is none"):
        sb.check_gradients(invalid, jnp.array(-0.3))
