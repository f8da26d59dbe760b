"""Newton's method: derivatives against differences, minima, saddles, walls, flat directions."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import sobirl as sb
from instances import random_tables
from sobirl.bilevel import minimize_newton
from sobirl.bilevel.newton import _derivatives
from sobirl.solvers import Stats

P, R, RHO = random_tables(0, 5, 3)
FEATURES = np.random.default_rng(1).normal(size=(3, 5, 3))
TRUTH = jnp.array([0.5, -1.0, 0.3])


class Follower(eqx.Module):
    """Rewards linear in x; {"a": (), "b": (2,)} shows that x may be any pytree."""

    features: jax.Array

    def __call__(self, x):
        weights = jnp.concatenate([jnp.atleast_1d(x["a"]), x["b"]])
        reward = R + jnp.tensordot(weights, self.features, 1)
        return sb.SoftMDP(sb.Dense(P), reward, 0.95, 0.7, RHO)


class CrossEntropy(eqx.Module):
    counts: jax.Array

    def __call__(self, x, response):
        return -jnp.sum(self.counts * response.log_policy)


def as_x(flat):
    return {"a": np.asarray(flat[0], float), "b": np.asarray(flat[1:], float)}


@functools.cache
def likelihood(num_features=3):
    """Only the first features do something."""
    features = FEATURES * (np.arange(3) < num_features)[:, None, None]
    follower = Follower(jnp.asarray(features))
    policy = jax.jit(lambda follower, x: sb.solve(follower(x)).policy)(follower, as_x(TRUTH))
    noise = np.random.default_rng(0).uniform(50, 150, size=(5, 1))
    return sb.BilevelProblem(follower, CrossEntropy(policy * noise + 1.0))


@functools.cache
def compiled_value():
    problem = likelihood()
    return jax.jit(lambda flat: problem.value({"a": flat[0], "b": flat[1:]}))


class Nothing(eqx.Module):
    """A lower level that is no MDP, whose response is not looked at: quick to compile."""

    x: dict

    def solve(self, initial_value=None, throw=True):
        table, zero, count = jnp.zeros((1, 1)), jnp.zeros(()), jnp.zeros((), jnp.int32)
        stats = Stats(count, count, count, zero, zero, "nobody")
        return sb.Solution(table[0], table, table, zero, count, stats)


class Unsolved(Nothing):
    """One whose solver has missed its tolerance."""

    def solve(self, initial_value=None, throw=True):
        missed = jnp.int32(sb.Status.STEP_LIMIT)
        return eqx.tree_at(lambda s: s.status_code, super().solve(), missed)


def test_a_lower_level_that_misses_its_tolerance_is_no_place_to_start():
    problem = sb.BilevelProblem(Unsolved, lambda x, response: jnp.sum(x["a"] ** 2))
    with pytest.raises(sb.ConvergenceError, match="x0: The solver reached its step limit"):
        minimize_newton(problem, {"a": jnp.ones(2)})


def direct(objective, contexts=None):
    """A problem in which x meets the objective alone."""
    if contexts is None:
        return sb.BilevelProblem(Nothing, objective)
    return sb.BilevelProblem(lambda x, context: Nothing(x), objective, contexts)


def test_derivatives_match_differences():
    problem, value = likelihood(), compiled_value()
    derivatives = eqx.filter_jit(_derivatives)
    x = np.array([0.1, 0.2, -0.4])
    objective, gradient, hessian, status = derivatives(problem, as_x(x))
    assert status == sb.Status.CONVERGED
    np.testing.assert_allclose(objective, value(x), rtol=1e-13)
    for i, unit in enumerate(np.eye(3) * 1e-5):
        difference = (value(x + unit) - value(x - unit)) / 2e-5
        np.testing.assert_allclose(gradient[i], difference, rtol=1e-6)
        ends = [derivatives(problem, as_x(x + sign * unit))[1] for sign in (1, -1)]
        np.testing.assert_allclose(hessian[i], (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-6)


def test_minimum_agrees_with_another_optimizer():
    problem = likelihood()
    result = minimize_newton(problem, as_x(np.zeros(3)))
    assert result.converged
    assert result.hypergradient_norm < 1e-8
    assert "below the tolerance" in result.message
    other = scipy.optimize.minimize(
        compiled_value(), np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-11}
    )
    np.testing.assert_allclose(result.objective, other.fun, rtol=1e-12)
    np.testing.assert_allclose([result.x["a"], *result.x["b"]], other.x, atol=1e-5)
    inverse = np.linalg.inv(result.hessian)
    np.testing.assert_allclose(result.inverse_hessian, inverse, rtol=1e-8)
    errors = [result.standard_errors["a"], *result.standard_errors["b"]]
    np.testing.assert_allclose(errors, np.sqrt(np.diag(inverse)), rtol=1e-8)


def test_history_has_a_row_for_each_step_and_never_rises():
    result = minimize_newton(likelihood(), as_x(np.full(3, 2.0)))
    assert result.steps == len(result.history["objective"])
    assert result.steps == len(result.history["hypergradient_norm"])
    assert np.all(np.diff(result.history["objective"]) <= 1e-10)
    assert result.history["objective"][-1] == result.objective
    assert result.history["hypergradient_norm"][-1] == result.hypergradient_norm


def test_same_shapes_compile_once():
    traces = []

    class Counted(Follower):
        def __call__(self, x):
            traces.append(x)
            return super().__call__(x)

    problem = likelihood()
    problem = eqx.tree_at(lambda p: p.follower, problem, Counted(jnp.asarray(FEATURES)))
    first = minimize_newton(problem, as_x(np.zeros(3)))
    count = len(traces)
    changed = eqx.tree_at(lambda p: p.objective.counts, problem, problem.objective.counts * 2)
    second = minimize_newton(changed, as_x(np.ones(3)))
    assert len(traces) == count
    np.testing.assert_allclose(second.x["b"], first.x["b"], atol=1e-8)


def test_starting_at_the_minimum_takes_no_steps():
    problem = likelihood()
    found = minimize_newton(problem, as_x(np.zeros(3)))
    again = minimize_newton(problem, found.x)
    assert again.steps == 0
    assert again.converged
    assert again.history["objective"].shape == (0,)


def test_entries_held_fixed():
    problem = likelihood()
    free = {"a": np.array(True), "b": np.array([True, False])}
    result = minimize_newton(problem, as_x([0.0, 0.0, 0.3]), free=free)
    assert result.converged
    assert result.x["b"][1] == 0.3
    assert result.hessian.shape == (3, 3)
    assert np.isnan(result.standard_errors["b"][1])
    np.testing.assert_allclose(result.inverse_hessian[2], 0)
    np.testing.assert_allclose(
        result.inverse_hessian[:2, :2], np.linalg.inv(result.hessian[:2, :2]), rtol=1e-8
    )
    assert abs(result.gradient["b"][1]) > 1e-3  # it would move
    assert result.objective > minimize_newton(problem, as_x(np.zeros(3))).objective


def test_contexts_are_averaged():
    def objective(x, response, context):
        return jnp.sum((x["b"] - context) ** 2) + x["a"] ** 2

    problem = direct(objective, contexts=jnp.array([1.0, 3.0]))
    result = minimize_newton(problem, as_x(np.zeros(3)))
    np.testing.assert_allclose(result.x["b"], 2, atol=1e-8)


def test_standard_errors_are_those_of_the_sum_over_contexts():
    """Normal observations with unit variance: the mean of n has the standard error 1/√n."""

    def objective(x, response, context):
        return (jnp.sum((x["b"] - context) ** 2) + (x["a"] - context) ** 2) / 2

    data = np.array([1.0, 3.0, 2.0, 7.0])
    x0 = as_x(np.zeros(3))
    mean = minimize_newton(direct(objective, data), x0)
    np.testing.assert_allclose(mean.standard_errors["a"], 1 / 2, rtol=1e-9)
    np.testing.assert_allclose(mean.covariance, np.eye(3) / 4, atol=1e-9)
    np.testing.assert_allclose(mean.inverse_hessian, np.eye(3), atol=1e-9)
    # Weights of one's own are taken as they are: ones make φ the sum itself, counts a table's.
    for weights, observations in ((np.ones(4), 4), (np.array([1.0, 2.0, 1.0, 5.0]), 9)):
        problem = sb.BilevelProblem(lambda x, context: Nothing(x), objective, data, weights)
        result = minimize_newton(problem, x0)
        errors = [result.standard_errors["a"], *result.standard_errors["b"]]
        np.testing.assert_allclose(errors, 1 / np.sqrt(observations), rtol=1e-9)
        np.testing.assert_allclose(result.covariance, result.inverse_hessian)


def test_leaves_a_saddle_point():
    def objective(x, response):
        return (x["a"] ** 2 - 1) ** 2 + jnp.sum(x["b"] ** 2)

    result = minimize_newton(direct(objective), as_x(np.zeros(3)))
    np.testing.assert_allclose(abs(result.x["a"]), 1, atol=1e-6)
    assert result.converged
    assert result.positive_definite


def test_steps_out_of_the_domain_are_taken_back():
    def objective(x, response):
        return x["a"] - jnp.log(x["a"]) + jnp.sum(x["b"] ** 2)

    result = minimize_newton(direct(objective), as_x([9.0, 1.0, 1.0]))
    assert result.converged
    np.testing.assert_allclose(result.x["a"], 1, atol=1e-7)
    assert np.isfinite(result.history["objective"]).all()


def test_flat_direction_is_reported():
    result = minimize_newton(likelihood(num_features=2), as_x(np.zeros(3)))
    assert result.converged
    assert not result.positive_definite
    assert result.inverse_hessian is None
    assert np.isnan(result.standard_errors["a"])
    assert np.isnan(result.standard_errors["b"]).all()
    assert "not identified" in result.message
    assert "no standard errors" in result.message


def test_unbounded_objective_is_reported():
    result = minimize_newton(
        direct(lambda x, response: -(x["a"] ** 2) + jnp.sum(x["b"])), as_x(np.ones(3)), max_steps=5
    )
    assert not result.converged
    assert result.steps <= 5
    assert "above the tolerance" in result.message
    assert "x is no minimum" in result.message


def test_tolerance_below_round_off_says_so():
    result = minimize_newton(likelihood(), as_x(np.zeros(3)), tolerance=1e-300)
    assert not result.converged
    assert "Round-off allows no less" in result.message


def test_start_without_a_finite_objective():
    problem = direct(lambda x, response: jnp.log(x["a"]))
    with pytest.raises(sb.ConvergenceError, match="x0: A value is NaN or infinite"):
        minimize_newton(problem, as_x([-1.0, 0.0, 0.0]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tolerance": 0.0}, "tolerance: must be positive"),
        ({"tolerance": float("nan")}, "tolerance: must be positive"),
        ({"max_steps": 0}, "max_steps: must be at least 1"),
        ({"x0": {"a": 1, "b": [0.0, 0.0]}}, "x0: expected floating-point arrays, got int"),
        ({"x0": {"a": np.nan, "b": np.zeros(2)}}, "all finite"),
        ({"x0": {}}, "at least one number"),
        ({"free": {"a": True}}, "free: expected booleans like x0"),
        ({"free": {"a": np.array(False), "b": np.zeros(2, bool)}}, "at least one entry"),
    ],
)
def test_bad_arguments(changes, message):
    arguments = {"x0": as_x(np.zeros(3))} | changes
    with pytest.raises(sb.InvalidInputError, match=message):
        minimize_newton(likelihood(), **arguments)
