"""Bilevel problems: contexts, weights, other lower levels, and what they refuse."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from instances import random_tables
from sobirl.problems.random_incentives import RandomIncentives


def follower(x, shift=0.0):
    P, r, rho = random_tables(0, 4, 2)
    return sb.SoftMDP(sb.Dense(P), r * (x + shift), 0.9, 0.5, rho)


def objective(x, response, shift=0.0):
    return jnp.sum(response.policy**2) + x * shift


def test_value_averages_contexts():
    shifts, weights = jnp.array([0.0, 1.0, 2.0]), jnp.array([0.2, 0.3, 0.5])
    problem = sb.BilevelProblem(follower, objective, shifts, weights)
    x = jnp.array(0.7)
    single = [objective(x, sb.solve(follower(x, shift)), shift) for shift in shifts]
    np.testing.assert_allclose(problem.value(x), jnp.dot(weights, jnp.stack(single)), rtol=1e-12)
    assert problem.respond(x).value.shape == (3, 4)


def test_weights_default_to_equal_ones():
    problem = sb.BilevelProblem(follower, objective, jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(problem.weights, [0.5, 0.5])


class Quadratic(eqx.Module):
    """A lower level that is no MDP: it answers with the minimizer of (y - x)²."""

    x: jax.Array

    def solve(self, initial_value=None, throw=True):
        return self.x


def test_other_lower_levels_answer_for_themselves():
    problem = sb.BilevelProblem(Quadratic, lambda x, y: jnp.sum((y - 1) ** 2))
    np.testing.assert_allclose(jax.grad(problem.value)(jnp.array(3.0)), 4.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, objective), "follower: expected a function, got float"),
        ((follower, None), "objective: expected a function, got NoneType"),
        ((follower, objective, (jnp.zeros(2), jnp.zeros(3))), "contexts: every array needs"),
        ((follower, objective, jnp.array(1.0)), "contexts: every array needs"),
        ((follower, objective, jnp.zeros(0)), "contexts: every array needs"),
        ((follower, objective, None, jnp.ones(2)), "weights: given without contexts"),
        ((follower, objective, jnp.zeros(2), jnp.ones(3)), r"weights: expected shape \(2,\)"),
        ((follower, objective, jnp.zeros(2), -jnp.ones(2)), "weights: must not be negative"),
        ((follower, objective, jnp.zeros(2), jnp.zeros(2)), "weights: must not all be 0"),
    ],
)
def test_bad_problems(arguments, message):
    with pytest.raises(sb.InvalidInputError, match=message):
        sb.BilevelProblem(*arguments)


def test_objective_must_be_a_number():
    problem = sb.BilevelProblem(follower, lambda x, response: response.value)
    with pytest.raises(sb.InvalidInputError, match=r"must return one number .*got shape \(4,\)"):
        problem.value(jnp.array(1.0))


def test_values_compile_whatever_the_problem_holds():
    instance = RandomIncentives.generate(states=3, actions=2, dimension=2)
    problem, x = instance.problem(), instance.x0()
    np.testing.assert_allclose(jax.jit(problem.value)(x), problem.value(x), rtol=1e-12)
    assert jax.jit(problem.respond)(x).value.shape == (3,)
