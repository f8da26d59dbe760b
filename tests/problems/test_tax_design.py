"""Tax design: all 1,250 actions written out, two witnesses of the gradient, and the simulator."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import sobirl as sb
from estimators import compiled, finite_differences, gradient, value
from sobirl.core.errors import InvalidInputError
from sobirl.problems.tax_design import TYPES, TaxDesign, simulate, tax

POINTS = 81
SMALL = TaxDesign(temperature=0.3, points=POINTS)
X = {"income": jnp.array(-1.0), "goods": jnp.array([-1.5, -0.5, -2.0])}
PREFERENCES = jnp.array(TYPES[0])


@pytest.fixture(scope="module")
def problem():
    return SMALL.problem()


@pytest.fixture(scope="module")
def answer(problem):
    return problem.respond(X)


def in_full():
    """Actions, reward and welfare (S,1250) and P (S,1250,S) from the rules, in NumPy."""
    x, y = float(tax(X["income"])), np.asarray(tax(X["goods"]))
    assets = np.linspace(-100, 100, POINTS)
    edges = np.concatenate([[-100], (assets[1:] + assets[:-1]) / 2, [100]])
    actions = np.array(list(itertools.product(range(10), range(5), range(5), range(5))))
    h, c = 0.89 * actions[:, 0], 1.25 * actions[:, 1:]
    own = np.where(assets > 0, np.log(1 + np.abs(assets) / 20), assets)
    reward = own[:, None] - 0.1 * h**2 + np.prod((c / (1 + y)) ** TYPES[0], axis=1)
    state = 15 * np.mean(c / (1 + y), axis=1) / 5 + 5 * np.log(1 + c @ (y / (1 + y)) + x * h)
    welfare = np.where(assets > 0, 0, assets)[:, None] + state
    mean = np.clip(assets[:, None] + (1 - x) * h - c.sum(1), -100, 100)[..., None]
    below = stats.norm.cdf(edges, mean, 5)
    law = np.diff(below) / (below[..., -1:] - below[..., :1])
    return actions, reward, welfare, law


@pytest.mark.slow  # the default run has the simulator beside the grid
def test_hours_and_spending_say_all_that_1250_actions_do(problem, answer):
    actions, reward, welfare, law = in_full()
    first = np.asarray(SMALL.households.initial)
    full = sb.SoftMDP(sb.Dense(law), reward, 0.9, 0.3, first)
    solution = sb.solve(full)
    np.testing.assert_allclose(solution.value, answer.value[0], rtol=1e-8)
    by_pair = np.zeros((POINTS, 130))
    pair = actions[:, 0] * 13 + actions[:, 1:].sum(1)
    np.add.at(by_pair.T, pair, np.asarray(solution.policy).T)
    np.testing.assert_allclose(by_pair, np.exp(answer.log_policy[0]), atol=1e-8)
    expected = sb.policy_return(full, solution.policy, welfare)
    found = problem.upper(X, jax.tree.map(lambda leaf: leaf[0], answer), PREFERENCES)
    np.testing.assert_allclose(-found, expected, rtol=1e-8)


def test_two_witnesses_of_the_gradient():
    problem = TaxDesign(temperature=0.3, points=11).problem()
    exact = gradient(problem, X)
    expected = finite_differences(lambda x: value(problem, x), X)
    np.testing.assert_allclose(exact, expected, rtol=1e-6, atol=1e-6)

    def through_sweeps(x):
        def one(preferences):
            mdp = problem.lower(x, preferences)
            sweep = lambda value, _: (mdp.soft_value(mdp.action_value(value)), None)  # noqa: E731
            last, _ = jax.lax.scan(sweep, jnp.zeros(mdp.shape[0]), length=300)
            return problem.upper(x, mdp.respond(last), preferences)

        return problem.average(problem.each_context(one))

    unrolled = compiled(jax.grad(through_sweeps))(X)
    np.testing.assert_allclose(exact, [*unrolled["goods"], unrolled["income"]], rtol=1e-8)


@pytest.mark.slow
def test_the_income_tax_has_a_best_response_term(problem, answer):
    """In the published code the income tax moves the state's receipts alone."""
    frozen = compiled(
        jax.grad(lambda x: problem.average(problem.each_context(lambda c: -_held(problem, x, c))))
    )(X)
    assert abs(gradient(problem, X)[3] - float(frozen["income"])) > 0.1


def _held(problem, x, preferences):
    """The state's return where households go on as under X, though the law of assets moves."""
    policy = sb.solve(problem.lower(X, preferences), throw=False).policy
    welfare = SMALL.households.leader_reward(x, preferences)
    return sb.policy_return(problem.lower(x, preferences), policy, welfare)


def test_a_basket_without_a_good_has_finite_derivatives():
    """(c/(1+y))^α has an infinite derivative at c = 0."""
    utility = lambda x: jnp.sum(SMALL.households.follower(x, PREFERENCES).reward)  # noqa: E731
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(compiled(jax.grad(utility))(X)))


def test_the_simulator_agrees_with_the_grid(problem, answer):
    """Households in continuous assets are where the grid says."""
    first = jax.tree.map(lambda leaf: leaf[0], answer)
    key = jax.random.key(0)
    sums = simulate(SMALL.households, X, PREFERENCES, first.log_policy, key, 1000, 120)
    expected = -float(problem.upper(X, first, PREFERENCES))
    error = float(sums.welfare.std()) / np.sqrt(1000)
    assert 0.05 < error < 0.5
    # Rounding assets to multiples of 2.5 counts for less than a third of a percent.
    assert abs(float(sums.welfare.mean()) - expected) < 4 * error + 0.003 * expected


def test_bad_instances_are_refused():
    with pytest.raises(InvalidInputError, match="points: must be at least 3, got 2"):
        TaxDesign(points=2)
