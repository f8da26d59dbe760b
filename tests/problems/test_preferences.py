"""Preferences: the loss, its optimum, and what the follower's response adds to its derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sobirl as sb
from estimators import (
    PREFERENCES,
    assert_mean,
    compiled,
    estimate,
    estimates,
    finite_differences,
    gradient,
    value,
)
from sobirl.problems.preferences import Preferences
from sobirl.testing.small_problems import in_contexts

X = jnp.array([0.4, -0.3])
GIVEN = PREFERENCES.labelled_pairs(6, jax.random.key(1))
EARLIER = np.array([[0.7, 0.3], [0.2, 0.8], [0.5, 0.5]])
OBJECTIVES = {
    "loss": {},
    "kl": {"objective": "kl"},
    "win-rate": {"objective": "win-rate"},
    "win-rate, earlier policy": {"objective": "win-rate", "reference": EARLIER, "weight": 3.0},
    "loss, given": {"given": GIVEN},
    "kl, given": {"objective": "kl", "given": GIVEN},
    "win-rate, given": {"objective": "win-rate", "given": GIVEN},
}
_DEAR = (
    "kl",
    "loss, given",
    "kl, given",
    "win-rate, earlier policy",
)  # four seconds each to compile
every_objective = pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, marks=[pytest.mark.slow] if name in _DEAR else [])
        for name, options in OBJECTIVES.items()
    ],
    ids=OBJECTIVES,
)


def pair(first, second):
    """Two trajectories, each as rows of states and actions."""
    return sb.Trajectories(*(jnp.array(rows) for rows in zip(first, second, strict=True)))


def test_the_loss_is_a_cross_entropy():
    d = pair(([0, 1], [1, 0]), ([2, 2], [0, 1]))
    reward = np.asarray(PREFERENCES.features @ X)

    def gap(table):
        return table[0, 1] + table[1, 0] - table[2, 0] - table[2, 1]

    preferred, predicted = (1 / (1 + np.exp(-gap(r))) for r in (PREFERENCES.truth, reward))
    expected = -preferred * np.log(predicted) - (1 - preferred) * np.log(1 - predicted)
    np.testing.assert_allclose(PREFERENCES.loss(X, d), expected, rtol=1e-12)


def test_the_order_of_a_pair_does_not_matter():
    one, other = ([0, 1], [1, 0]), ([2, 2], [0, 1])
    np.testing.assert_allclose(
        PREFERENCES.loss(X, pair(one, other)), PREFERENCES.loss(X, pair(other, one)), rtol=1e-12
    )


def test_the_truth_minimizes_the_loss_of_every_pair():
    """With the true reward among those that can be learned."""
    features = np.stack([PREFERENCES.truth, np.ones((3, 2))], axis=-1)
    instance = Preferences(PREFERENCES.transition, features, PREFERENCES.truth, horizon=2)
    d = pair(([0, 1], [1, 0]), ([2, 2], [0, 1]))
    slope = jax.grad(instance.loss)(jnp.array([1.0, 0.0]), d)
    np.testing.assert_allclose(slope, 0, atol=1e-12)


def test_the_response_is_a_part_of_the_derivative():
    problem = PREFERENCES.problem()
    response = sb.solve(PREFERENCES.follower(X)).response
    explicit = compiled(jax.grad(problem.upper))(X, response)
    whole = gradient(problem, X)
    expected = finite_differences(lambda x: value(problem, x), X)
    np.testing.assert_allclose(whole, expected, rtol=1e-6)
    assert jnp.linalg.norm(whole - explicit) > 0.1 * jnp.linalg.norm(whole)


def test_the_seed_decides():
    first, again, other = (Preferences.generate(seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.truth, again.truth)
    assert not np.array_equal(first.truth, other.truth)
    assert first.features.shape == (6, 3, 4)
    assert sb.problems.preferences.Preferences is Preferences


def held_at(problem, y, policy_at):
    """What the hyper-gradient at y is the derivative of: in x, what is held staying as at y."""
    loss = problem.objective
    mdp = PREFERENCES.follower(y)
    now, chance_now = loss.enumerate(mdp, sb.solve(mdp).policy)
    own = loss.held is None

    def function(x):
        mdp = PREFERENCES.follower(x)
        tuples, chance = loss.enumerate(mdp, policy_at(mdp))
        if own:
            return chance @ loss.losses(x, tuples)
        held = loss.all_losses(x, now) - loss.losses(x, now)
        return chance @ loss.losses(y, tuples) + chance_now @ held

    return function


def unrolled(mdp):
    """The policy after so many sweeps that the rest is rounding, differentiable step by step."""

    def sweep(value, _):
        return mdp.soft_value(mdp.action_value(value)), None

    value, _ = jax.lax.scan(sweep, jnp.zeros(mdp.shape[0]), None, length=150)
    return mdp.respond(value).policy


@every_objective
def test_two_witnesses_of_the_hypergradient(options):
    problem = PREFERENCES.problem(**options)
    exact = gradient(problem, X)
    differences = finite_differences(held_at(problem, X, lambda mdp: sb.solve(mdp).policy), X)
    np.testing.assert_allclose(exact, differences, rtol=1e-6, atol=1e-9)
    through_sweeps = compiled(jax.grad(held_at(problem, X, unrolled)))(X)
    np.testing.assert_allclose(exact, through_sweeps, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) for name in ("kl", "loss, given")] + ["win-rate"],
)
def test_sampled_methods_have_the_same_mean(name):
    """That of "loss" is in the tests of SoBiRL."""
    problem = PREFERENCES.problem(**OBJECTIVES[name])
    exact = gradient(problem, X)
    sums, _, _ = estimate(sb.SoBiRL(expectations="exact"), problem, X)
    np.testing.assert_allclose(sums, exact, rtol=1e-9, atol=1e-12)
    assert_mean(estimates(sb.SoBiRL(num_tuples=8), problem, X, 1000), exact)
    stochastic = sb.StocSoBiRL(num_tuples=8, horizon="full", inner_steps=100)
    assert_mean(estimates(stochastic, problem, X, 1000), exact)


@pytest.mark.slow  # `hypergrad/test_contract.py` has contexts
def test_what_is_held_has_contexts_too():
    problem = in_contexts(PREFERENCES.problem("win-rate"))
    sums, _, _ = estimate(sb.SoBiRL(expectations="exact"), problem, X)
    np.testing.assert_allclose(sums, gradient(problem, X), rtol=1e-9)


def test_the_explicit_term_is_the_same_for_all():
    problems = [PREFERENCES.problem(**OBJECTIVES[name]) for name in ("loss", "kl", "win-rate")]
    response = sb.solve(PREFERENCES.follower(X)).response
    first, *others = (compiled(jax.grad(problem.upper))(X, response) for problem in problems)
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-12)
    plain = PREFERENCES.problem("win-rate", weight=0.0)
    np.testing.assert_allclose(gradient(plain, X), first, rtol=1e-12)


def test_the_divergence_lacks_the_teachers_entropy():
    d = pair(([0, 1], [1, 0]), ([2, 2], [0, 1]))
    preferred = float(PREFERENCES.answer(d))
    entropy = -preferred * np.log(preferred) - (1 - preferred) * np.log(1 - preferred)
    divergence = PREFERENCES.divergence(X, d)
    np.testing.assert_allclose(divergence, PREFERENCES.loss(X, d) - entropy, rtol=1e-12)
    features = np.asarray(PREFERENCES.truth)[..., None]
    right = Preferences(PREFERENCES.transition, features, PREFERENCES.truth, horizon=2)
    np.testing.assert_allclose(right.divergence(jnp.ones(1), d), 0, atol=1e-15)


def test_a_policy_wins_half_of_the_time_against_itself():
    policy = sb.solve(PREFERENCES.follower(X)).policy
    wins = PREFERENCES.problem("win-rate", reference=policy)
    plain = PREFERENCES.problem("win-rate", weight=0.0)
    np.testing.assert_allclose(value(wins, X) - value(plain, X), 0.5, rtol=1e-8)


@pytest.mark.parametrize("weight", [pytest.param(0.0, marks=pytest.mark.slow), 0.5])
def test_win_rate_where_the_best_is_known(weight):
    """One state; the first action pays x, and 1 in the teacher's eyes.

    Of pairs that differ, 2π(1 - π) of all, the explicit term is σ(x) - σ(1). A win against the
    uniform policy is likelier by σ(1) - 1/2 with the first action than with the second, and
    dπ/dx = π(1 - π)/τ, so that both are in balance where σ(x) = σ(1) + λ(σ(1) - 1/2)/(2τ).
    """
    features, truth = np.array([[[1.0], [0.0]]]), np.array([[1.0, 0.0]])
    task = Preferences(np.ones((1, 2, 1)), features, truth, horizon=1, temperature=2.0)
    problem = task.problem("win-rate", weight=weight)
    result = sb.minimize(problem, jnp.zeros(1), sb.Exact(), optax.adam(0.05), 500)
    sigmoid = 1 / (1 + np.exp(-1.0))
    chance = sigmoid + weight * (sigmoid - 0.5) / 4
    np.testing.assert_allclose(result.final_x, np.log(chance / (1 - chance)), rtol=1e-4)


def test_many_reference_trajectories_are_drawn():
    """Too many to sum over; the objective is that of one fixed sample."""
    instance = Preferences.generate(seed=3)
    first, again = (instance.problem("win-rate").objective.loss.loss for _ in range(2))
    np.testing.assert_array_equal(first.references, again.references)
    assert first.references.shape == (1024,)
    small = Preferences.generate(states=3, actions=2, horizon=2).problem("win-rate")
    chance = small.objective.loss.loss.chance
    assert chance.shape == (36,)
    np.testing.assert_allclose(chance.sum(), 1, rtol=1e-12)


def test_given_pairs_are_answered_as_the_teacher_would():
    given = PREFERENCES.labelled_pairs(4000, jax.random.key(0), EARLIER)
    assert given.pairs.state.shape == (4000, 2, 2)
    surprise = given.answers - jax.vmap(PREFERENCES.answer)(given.pairs)
    assert_mean(np.asarray(surprise)[:, None], np.zeros(1))
    first = np.asarray(given.pairs.action == 0)[np.asarray(given.pairs.state) == 0]
    assert_mean(first[:, None].astype(float), np.array([0.7]))


def test_what_is_generated():
    realizable = Preferences.generate(realizable=True)
    features = realizable.features.reshape(18, 4)
    assert np.linalg.lstsq(features, realizable.truth.ravel(), rcond=None)[1] < 1e-20
    plain, scaled = Preferences.generate(), Preferences.generate(scale=3.0, temperature=0.2)
    np.testing.assert_allclose(scaled.truth, 3 * plain.truth)
    assert (plain.temperature, scaled.temperature) == (0.5, 0.2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: PREFERENCES.problem("winrate"),
            "objective: there is no 'winrate'; choose from loss, kl, win-rate",
        ),
        (
            lambda: PREFERENCES.problem("kl", weight=2.0),
            "weight: goes with objective='win-rate' only",
        ),
        (
            lambda: PREFERENCES.problem(reference=EARLIER),
            "reference: goes with objective='win-rate' only",
        ),
        (
            lambda: PREFERENCES.problem("win-rate", weight=-1.0),
            "weight: must be at least 0, got -1.0",
        ),
        (
            lambda: PREFERENCES.problem("win-rate", reference=EARLIER[:2]),
            r"reference: expected shape \(3, 2\), got \(2, 2\)",
        ),
        (
            lambda: PREFERENCES.problem("win-rate", reference=2 * EARLIER),
            r"reference: action probabilities of a state must sum to 1, got 2.0 at index \[0\]",
        ),
        (lambda: PREFERENCES.labelled_pairs(0, jax.random.key(0)), "num: must be at least 1"),
        (lambda: Preferences.generate(scale=0.0), "scale: must be positive, got 0.0"),
        (lambda: Preferences.generate(temperature=-1.0), "temperature: must be positive, got -1.0"),
    ],
)
def test_bad_options(call, message):
    with pytest.raises(sb.InvalidInputError, match=message):
        call()
