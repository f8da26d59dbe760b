"""Building thermal control: published constants, two witnesses, the simulator and its estimates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.special import logit

import sobirl as sb
from estimators import compiled, finite_differences, gradient, value
from sobirl.core.errors import InvalidInputError
from sobirl.problems.building_sampled import SampledDesigner
from sobirl.problems.building_thermal import BuildingThermal, price, simulated_returns
from sobirl.solvers.riccati import Quadratic

THERMAL = BuildingThermal()
PROBLEM = THERMAL.problem()
X = {"insulation": jnp.array([0.3, -0.5, 0.1, 0.8]), "coupling": jnp.array([-0.4, 0.2, 0.6, 0.0])}


def test_the_known_values():
    at = compiled(lambda x: value(PROBLEM, x))
    assert float(at(THERMAL.x0())) == pytest.approx(261.96, abs=0.005)
    best = np.clip([1, 0, 1, 1, 0, 0.778, 1, 1], 1e-9, 1 - 1e-9)
    insulation, coupling = jnp.split(jnp.asarray(logit(best)), 2)
    assert float(at({"insulation": insulation, "coupling": coupling})) == pytest.approx(
        162.50, abs=0.005
    )


def test_two_witnesses_of_the_gradient():
    exact = gradient(PROBLEM, X)
    expected = finite_differences(lambda x: value(PROBLEM, x), X)
    np.testing.assert_allclose(exact, expected, rtol=1e-6, atol=1e-6)

    def through_sweeps(x):
        lower = PROBLEM.lower(x)
        problem = Quadratic(lower.A, lower.B, lower.Q, lower.R, lower.discount)
        sweep = lambda P, _: (problem.backup(P), None)  # noqa: E731
        P, _ = jax.lax.scan(sweep, lower.Q, length=400)
        K, S = problem.control(P)
        zero = jnp.zeros(())
        covariance = lower.temperature / 2 * jnp.linalg.inv(S)
        return PROBLEM.upper(x, sb.GaussianResponse(K, covariance, P, zero, zero, jnp.int32(0)))

    unrolled = ravel_pytree(compiled(jax.grad(through_sweeps))(X))[0]
    np.testing.assert_allclose(exact, unrolled, rtol=1e-7, atol=1e-8)


def test_the_simulator_agrees_with_moments():
    """The clipping is out of sight: 30 is six deviations."""
    response = sb.solve(PROBLEM.lower(X))
    returns = np.asarray(simulated_returns(X, response, jax.random.key(0), 2000))
    error = returns.std() / np.sqrt(len(returns))
    assert 1 < error < 10
    assert abs(returns.mean() + float(value(PROBLEM, X))) < 4 * error


def frozen(x):
    """φ for a controller that goes on as under X."""
    return PROBLEM.upper(x, jax.lax.stop_gradient(PROBLEM.lower(X).solve(throw=False)))


@pytest.mark.parametrize("implicit", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_estimates_are_right_on_average(implicit):
    method, count = SampledDesigner(walkers=20, implicit=implicit), 60
    expected = gradient(PROBLEM, X) if implicit else ravel_pytree(compiled(jax.grad(frozen))(X))[0]
    one = lambda key: ravel_pytree(method.estimate(PROBLEM, X, None, key)[0])[0]  # noqa: E731
    keys = jax.random.split(jax.random.key(1), count)
    found = np.asarray(compiled(lambda keys: jax.lax.map(one, keys))(keys))
    error = found.std(0) / np.sqrt(count)
    assert (np.abs(found.mean(0) - expected) < 4 * error + 1e-3 * np.abs(expected)).all()
    # The controller's answer turns signs around: to know it is worth the noise.
    other = gradient(PROBLEM, X) if not implicit else compiled(jax.grad(frozen))(X)
    other = ravel_pytree(other)[0]
    assert (np.abs(found.mean(0) - other) > 4 * error).any()


@pytest.mark.slow  # compiles the estimate twice
def test_scores_are_far_noisier():
    keys = jax.random.split(jax.random.key(0), 20)

    def spread(**options):
        method = SampledDesigner(walkers=20, implicit=False, **options)
        one = lambda key: method.estimate(PROBLEM, X, None, key)[0]["insulation"]  # noqa: E731
        found = compiled(lambda keys: jax.lax.map(one, keys))(keys)
        return np.asarray(found.std(0)), np.asarray(found.mean(0))

    (ours, _), (theirs, mean) = spread(), spread(scores=True)
    assert (theirs > 20 * ours).all()
    # Both have the price of insulation in them, and the same mean.
    exact = compiled(jax.grad(frozen))(X)["insulation"]
    assert (np.abs(mean - exact) < 4 * theirs / np.sqrt(20)).all()
    assert (np.asarray(jax.grad(price)(X)["insulation"]) > 0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BuildingThermal(0.0), "temperature: must be positive, got 0"),
        (
            lambda: SampledDesigner(walkers=5),
            "walkers: must be an even number of at least 4, got 5",
        ),
        (
            lambda: SampledDesigner(walkers=2),
            "walkers: must be an even number of at least 4, got 2",
        ),
    ],
)
def test_bad_instances_are_refused(make, message):
    with pytest.raises(InvalidInputError, match=message):
        make()
