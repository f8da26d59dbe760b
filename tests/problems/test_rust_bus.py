"""Rust's bus engines: published numbers, derivatives, nested costs, the simulator."""

import equinox as eqx
import jax
import numpy as np
import pytest
import scipy.optimize

import rust_reference as reference
import sobirl as sb
from sobirl.bilevel.newton import _derivatives
from sobirl.problems import rust_bus
from sobirl.problems.rust_bus import COSTS, GROUP4_ESTIMATES, STATES
from sobirl.problems.rust_estimation import (
    estimate,
    profile_likelihood,
    replacement_probability,
)

# -log L at the optima, from Nelder and Mead's method on `rust_reference` from eight starts each.
OPTIMA = {
    "linear": 163.58428366,
    "sqrt": 163.39000546,
    "quadratic": 163.40226396,
    "cubic": 162.98779984,
    "hyperbolic": 165.11427519,
}
STARTS = {
    "linear": (8.0, 1.0),
    "sqrt": (9.0, 2.0),
    "quadratic": (10.0, 2.0, 0.0),
    "cubic": (16.0, 25.0, -45.0, 28.0),
    "hyperbolic": (7.0, 15.0),
}


@pytest.fixture(scope="module")
def group4():
    return rust_bus.group4()


class Estimates(dict):
    """By cost, made when they are asked for."""

    def __missing__(self, cost):
        return self.setdefault(cost, estimate(rust_bus.group4(), cost))


@pytest.fixture(scope="module")
def estimates():
    return Estimates()


some_costs = pytest.mark.parametrize(
    "cost",
    [c if c in ("linear", "cubic") else pytest.param(c, marks=pytest.mark.slow) for c in COSTS],
)


def as_x(values):
    return {"replacement_cost": values[0], "theta": values[1:]}


def test_data_of_group4(group4):
    assert len(group4.bus) == 4329
    assert len(set(group4.bus)) == 37
    np.testing.assert_array_equal(group4.usage_counts, [1682, 2555, 55])
    np.testing.assert_allclose(
        group4.transition_probabilities, [0.3918918193, 0.5952937064, 0.0128144743], atol=1e-6
    )
    np.testing.assert_array_equal(group4.decision_counts.sum(axis=0), [4259, 33])


def test_published_estimate(estimates):
    found = estimates["linear"]
    np.testing.assert_allclose(found.values, [10.07494, 2.29309], atol=2e-5)
    np.testing.assert_allclose(found.result.objective, 163.58428, atol=1e-5)
    assert found.result.converged


@some_costs
def test_optima(estimates, group4, cost):
    found = estimates[cost]
    np.testing.assert_allclose(found.result.objective, OPTIMA[cost], atol=1e-7)
    np.testing.assert_allclose(found.start_objectives, OPTIMA[cost], atol=1e-7)
    replacement_cost, theta = GROUP4_ESTIMATES[cost]
    np.testing.assert_allclose(found.values, [replacement_cost, *theta], rtol=2e-5)
    assert found.result.positive_definite
    data = cost, group4.decision_counts, group4.transition_probabilities
    witness = reference.neg_log_likelihood(found.values, *data)
    np.testing.assert_allclose(found.result.objective, witness, rtol=1e-10)


@some_costs
def test_optima_without_gradients(estimates, group4, cost):
    x, objective = reference.minimize_without_gradients(
        STARTS[cost], cost, group4.decision_counts, group4.transition_probabilities
    )
    np.testing.assert_allclose(estimates[cost].result.objective, objective, atol=1e-5)
    within = np.abs(estimates[cost].values - x) / estimates[cost].standard_errors
    assert within.max() < 0.01


def test_richer_costs_fit_better(estimates, group4):
    cubic, quadratic, linear = (
        estimates[cost].result.objective for cost in ("cubic", "quadratic", "linear")
    )
    keeps, replacements = group4.decision_counts.sum(axis=0)
    shares = np.array([keeps, replacements]) / (keeps + replacements)
    constant = -keeps * np.log(shares[0]) - replacements * np.log(shares[1])
    assert cubic <= quadratic <= linear <= constant


@some_costs
def test_derivatives(estimates, group4, cost):
    problem = estimates[cost].problem
    derivatives = eqx.filter_jit(_derivatives)
    x = np.array(STARTS[cost])
    _, gradient, hessian, _ = derivatives(problem, as_x(x))
    data = cost, group4.decision_counts, group4.transition_probabilities
    for i, unit in enumerate(np.eye(len(x)) * 1e-4):
        ends = [reference.neg_log_likelihood(x + sign * unit, *data) for sign in (1, -1)]
        np.testing.assert_allclose(gradient[i], (ends[0] - ends[1]) / 2e-4, rtol=1e-6, atol=1e-6)
        ends = [derivatives(problem, as_x(x + sign * unit))[1] for sign in (1, -1)]
        difference = (ends[0] - ends[1]) / 2e-4
        np.testing.assert_allclose(hessian[i], difference, rtol=1e-6, atol=1e-6)


def test_standard_errors_are_those_of_the_inverse_hessian(estimates, group4):
    found = estimates["linear"]
    data = "linear", group4.decision_counts, group4.transition_probabilities
    signs = [(1, 1), (1, -1), (-1, 1), (-1, -1)]

    def second_difference(left, right):
        return sum(
            a * b * reference.neg_log_likelihood(found.values + a * left + b * right, *data)
            for a, b in signs
        ) / (4 * 1e-3**2)

    steps = np.eye(2) * 1e-3
    hessian = np.array([[second_difference(left, right) for right in steps] for left in steps])
    expected = np.sqrt(np.diag(np.linalg.inv(hessian)))
    np.testing.assert_allclose(found.standard_errors, expected, rtol=1e-4)


def test_replacement_probability_and_its_error(estimates):
    found = estimates["linear"]
    probability, errors = replacement_probability(found)
    slopes = []
    for unit in np.eye(2) * 1e-5:
        ends = [
            replacement_probability(found, as_x(found.values + sign * unit))[0] for sign in (1, -1)
        ]
        slopes.append((ends[0] - ends[1]) / 2e-5)
    covariance = found.result.inverse_hessian
    expected = np.sqrt(np.einsum("is,ij,js->s", slopes, covariance, slopes))
    np.testing.assert_allclose(errors, expected, rtol=1e-4, atol=1e-12)
    assert np.all(np.diff(probability) > 0)  # older engines are replaced more often
    counts = found.panel.decision_counts
    likelihood = counts[:, 0] @ np.log1p(-probability) + counts[:, 1] @ np.log(probability)
    np.testing.assert_allclose(-likelihood, found.result.objective, rtol=1e-10)


def test_profile_of_a_one_parameter_cost_is_the_likelihood(estimates):
    found = estimates["linear"]
    profile = profile_likelihood(found, reach=0.2, step=0.5)
    known = np.argwhere(np.isfinite(profile.excess))
    assert len(known) >= 9
    data = "linear", found.panel.decision_counts, found.panel.transition_probabilities
    for i, j in known[::4]:
        direct = reference.neg_log_likelihood(profile.points[i, j], *data)
        np.testing.assert_allclose(profile.excess[i, j], direct - found.result.objective, atol=1e-9)


def test_profile_minimizes_over_the_other_parameters(estimates, group4):
    found = estimates["quadratic"]
    profile = profile_likelihood(found, reach=0.1, step=0.5)
    middle = len(profile.excess) // 2
    np.testing.assert_allclose(profile.excess[middle, middle], 0, atol=1e-9)
    first, other = profile.points[middle + 1, middle], found.values[2]
    data = "quadratic", group4.decision_counts, group4.transition_probabilities
    lowest = scipy.optimize.minimize_scalar(
        lambda t: reference.neg_log_likelihood(np.array([*first, t]), *data),
        bounds=(other - 5, other + 5),
        method="bounded",
    )
    expected = lowest.fun - found.result.objective
    np.testing.assert_allclose(profile.excess[middle + 1, middle], expected, atol=1e-6)


def test_follower_is_the_mdp_of_the_paper():
    probabilities = np.array([0.5, 0.3, 0.2])
    mdp = rust_bus.bus_mdp("hyperbolic", probabilities, discount=0.9)(as_x(np.array([7.0, 20.0])))
    P = np.zeros((STATES, 2, STATES))
    rows, actions = np.arange(STATES)[:, None, None], np.arange(2)[:, None]
    np.add.at(P, (rows, actions, mdp.transition.successors), mdp.transition.probabilities)
    np.testing.assert_allclose(P[3, 0, 3:6], probabilities)
    np.testing.assert_allclose(P[88, 0, 88:], [0.5, 0.5])
    np.testing.assert_allclose(P[89, 0, 89], 1)
    np.testing.assert_allclose(P[:, 1, :3], np.tile(probabilities, (STATES, 1)))
    np.testing.assert_allclose(mdp.reward[:, 0], -2 / (91 - np.arange(STATES)))
    np.testing.assert_allclose(mdp.reward[:, 1], -7)
    assert mdp.temperature == 1
    assert mdp.discount == 0.9


@pytest.mark.parametrize("cost", COSTS)
def test_basis_matches_the_written_costs(cost):
    theta = np.arange(1.0, 1 + COSTS[cost].num_parameters)
    np.testing.assert_allclose(theta @ COSTS[cost].basis, reference.COSTS[cost](theta), rtol=1e-14)


@some_costs
def test_simulator_recovers_its_parameters(cost):
    panel = rust_bus.simulate(cost, buses=300, periods=120, seed=3)
    found = estimate(panel, cost)
    replacement_cost, theta = GROUP4_ESTIMATES[cost]
    z = (found.values - [replacement_cost, *theta]) / found.standard_errors
    assert found.result.converged
    assert np.abs(z).max() < 4
    counts = panel.usage_counts
    expected = counts.sum() * rust_bus.GROUP4_PROBABILITIES
    assert np.sum((counts - expected) ** 2 / expected) < 18.4  # χ² with 2 degrees, 1e-4


def test_simulated_panel_follows_the_conventions():
    panel = rust_bus.simulate(buses=40, periods=100, replacement_cost=5.0, seed=1)
    columns = (panel.period, panel.state, panel.usage, panel.decision)
    period, state, usage, decision = (column.reshape(40, 100) for column in columns)
    np.testing.assert_array_equal(period, np.tile(np.arange(100), (40, 1)))
    np.testing.assert_array_equal(state[:, 0], 0)
    np.testing.assert_array_equal(usage[:, 0], -1)
    assert decision[:, 1:].sum() > 20
    worn = np.minimum(state[:, :-1] + usage[:, 1:], STATES - 1)
    np.testing.assert_array_equal(state[:, 1:], np.where(decision[:, :-1] == 1, 0, worn))
    assert set(usage[:, 1:][decision[:, :-1] == 1]) >= {0, 1}  # increments after replacements


def test_simulated_engines_stop_at_the_last_bin():
    panel = rust_bus.simulate(buses=3, periods=300, replacement_cost=50.0, theta=[0.0], seed=0)
    assert panel.state.max() == STATES - 1


def test_same_seed_same_panel():
    one, same, other = (rust_bus.simulate(buses=20, periods=50, seed=seed) for seed in (5, 5, 6))
    assert rust_bus.to_csv(one) == rust_bus.to_csv(same)
    assert rust_bus.to_csv(one) != rust_bus.to_csv(other)


def test_same_panel_same_estimate(group4):
    one, same = (estimate(group4, "sqrt") for _ in range(2))
    np.testing.assert_array_equal(one.values, same.values)
    np.testing.assert_array_equal(one.start_objectives, same.start_objectives)


def test_costs_of_the_same_size_share_their_program(estimates):
    arrays, statics = zip(
        *(eqx.partition(estimates[cost].problem, eqx.is_array) for cost in ("linear", "sqrt")),
        strict=True,
    )
    assert eqx.tree_equal(*statics)
    shapes = [[leaf.aval for leaf in jax.tree.leaves(array)] for array in arrays]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rust_bus.bus_mdp("cubical", [0.4, 0.6, 0.0]), "cost: there is no 'cubical'"),
        (lambda: rust_bus.bus_mdp("linear", [0.4, 0.6]), r"probabilities: expected shape \(3,\)"),
        (lambda: rust_bus.bus_mdp("linear", [0.4, 0.4, 0.4]), "probabilities: must sum to 1"),
        (lambda: rust_bus.bus_mdp("linear", [1.4, -0.4, 0.0]), "must not be negative, got -0.4"),
        (lambda: rust_bus.bus_mdp("linear", [0.4, 0.6, 0.0], 1.0), "discount: must lie in"),
        (lambda: rust_bus.problem("linear", np.ones((90, 3))), r"counts: expected shape \(90, 2\)"),
        (lambda: rust_bus.problem("linear", -np.ones((90, 2))), "counts: must not be negative"),
        (lambda: rust_bus.simulate("cubic", theta=[1.0]), "theta: the cubic cost has 3 parameters"),
        (lambda: rust_bus.simulate(replacement_cost=np.nan), "replacement_cost: must be finite"),
        (lambda: rust_bus.simulate(buses=0), "buses: must be at least 1"),
        (lambda: rust_bus.simulate(periods=0), "periods: must be at least 1"),
        (
            lambda: estimate(rust_bus.simulate(buses=1, periods=3)),
            "panel: no replacement .* no maximum",
        ),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(sb.InvalidInputError, match=message):
        call()
