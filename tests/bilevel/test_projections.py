"""Projections: the nearest point of the set, by its variational inequality and by scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

import sobirl as sb

POINTS = st.lists(st.floats(-5, 5), min_size=3, max_size=3).map(np.array)


@given(POINTS, st.floats(0.1, 4))
def test_budget_is_the_nearest_point(y, total):
    """Against a general solver, in variables whose sum of sizes is linear."""
    lower, upper = np.array([-1.0, 0.0, -3.0]), np.array([0.5, 2.0, np.inf])
    x = np.asarray(sb.budget(total, lower, upper)(y))
    assert np.abs(x).sum() <= total * (1 + 1e-12)
    assert (lower <= x).all()
    assert (x <= upper).all()
    found = scipy.optimize.minimize(
        lambda pq: np.sum((pq[:3] - pq[3:] - y) ** 2),
        np.zeros(6),
        jac=lambda pq: np.tile(2 * (pq[:3] - pq[3:] - y), 2) * np.repeat([1, -1], 3),
        bounds=[(0, max(u, 0)) for u in upper] + [(0, max(-low, 0)) for low in lower],
        constraints={"type": "ineq", "fun": lambda pq: total - pq.sum()},
        method="SLSQP",
        options={"ftol": 1e-14},
    )
    assert np.sum((x - y) ** 2) <= found.fun + 1e-7


@given(POINTS)
def test_budget_spends_all_where_it_binds(y):
    x = np.asarray(sb.budget(1.0)(y))
    np.testing.assert_allclose(np.abs(x).sum(), min(1.0, np.abs(y).sum()), rtol=1e-12)
    np.testing.assert_allclose(x, optax.projections.projection_l1_ball(y, 1.0), atol=1e-12)


@pytest.mark.parametrize(
    "projection", [sb.box(-1, 0.5), sb.simplex(2.0), sb.budget(1.5, lower=0), lambda x: x]
)
def test_projecting_twice_changes_nothing(projection):
    x = {"a": jnp.array([3.0, -2.0, 0.1]), "b": jnp.array(0.7)}
    once = projection(x)
    assert jax.tree.structure(once) == jax.tree.structure(x)
    twice = projection(once)
    for a, b in zip(jax.tree.leaves(once), jax.tree.leaves(twice), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-14)


def test_simplex_and_box():
    x = sb.simplex(2.0)({"a": jnp.array([3.0, -2.0]), "b": jnp.array(0.7)})
    np.testing.assert_allclose(sum(leaf.sum() for leaf in jax.tree.leaves(x)), 2.0)
    bounds = sb.box({"a": np.zeros(2), "b": -np.inf}, {"a": np.array([1.0, 2.0]), "b": 0.5})
    x = bounds({"a": jnp.array([3.0, -2.0]), "b": jnp.array(0.7)})
    np.testing.assert_array_equal(x["a"], [1.0, 0.0])
    assert x["b"] == 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sb.box(1.0, 0.0), "lower: must not be above upper, got 1.0"),
        (lambda: sb.box(np.nan), "lower: must not be NaN"),
        (lambda: sb.box("a"), "lower and upper: expected numbers"),
        (lambda: sb.box(np.zeros(2), np.zeros(3)), "whose shapes go together"),
        (lambda: sb.box({"a": 0.0}, {"b": 1.0}), "upper: expected one number, or arrays like"),
        (lambda: sb.simplex(0.0), "total: must be positive, got 0.0"),
        (lambda: sb.simplex(np.ones(2)), r"total: expected shape \(\), got \(2,\)"),
        (lambda: sb.budget(-1.0), "total: must be positive"),
        (lambda: sb.budget(1.0, lower=np.ones(2)), "total: the bounds alone need 2, got 1"),
    ],
)
def test_impossible_sets(make, message):
    with pytest.raises(sb.InvalidInputError, match=message):
        make()


@pytest.mark.parametrize("projection", [sb.box(0, 1), sb.simplex(2.0), sb.budget(1.5, lower=0)])
def test_precision_is_kept(projection):
    assert projection(jnp.ones(3, jnp.float32)).dtype == jnp.float32


def toll_problem():
    """One state, three actions with rewards -x: the response is a softmax, written out."""

    def follower(x):
        return sb.SoftMDP(sb.Dense(np.ones((1, 3, 1))), -x[None], 0.5, 1.0, np.ones(1))

    return sb.BilevelProblem(follower, lambda x, response: -jnp.sum(x * response.policy[0]))


@pytest.mark.parametrize("projection", [sb.box(0.0, [0.5, 1.0, 4.0]), sb.budget(2.0, lower=0.0)])
def test_constrained_optimum(projection):
    """Revenue x·softmax(-x) within a set, against scipy on the closed form."""
    problem = toll_problem()
    result = sb.minimize(
        problem, np.full(3, 9.0), optimizer=optax.sgd(0.5), num_steps=400, projection=projection
    )
    assert result.converged
    assert result.projected_gradient_norm < 1e-6 < result.hypergradient_norm
    x = result.x
    np.testing.assert_allclose(projection(x), x, atol=1e-12)
    revenue = lambda x: float(x @ np.exp(-x) / np.exp(-x).sum())  # noqa: E731
    np.testing.assert_allclose(-result.objective, revenue(x), rtol=1e-9)
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(200, 3)) * rng.choice([0.01, 0.3], size=(200, 1))
    others = np.asarray(jax.jit(jax.vmap(projection))(x + steps))
    assert max(map(revenue, others)) <= revenue(x) + 1e-9
    x = result.final_x
    gradient = np.asarray(jax.jit(jax.grad(problem.value))(jnp.asarray(x)))
    norm = np.linalg.norm(x - np.asarray(projection(x - gradient)))
    np.testing.assert_allclose(result.projected_gradient_norm, norm, atol=1e-12)
    assert result.history["projected_gradient_norm"].shape == (400,)
    assert "projected ‖∇φ‖" in str(result)


def test_many_starts_are_projected():
    result = sb.minimize(
        toll_problem(),
        lambda key: jax.random.normal(key, (3,)) * 5,
        optimizer=optax.sgd(0.5),
        num_steps=50,
        starts=4,
        projection=sb.box(0.0, 1.0),
    )
    assert (result.start_x >= 0).all()
    assert (result.start_x <= 1).all()


@pytest.mark.parametrize(
    ("projection", "message"),
    [
        (sb.box(np.zeros(2), np.ones(2)), "the bounds do not go with x"),
        (lambda x: x.sum(), "projection: must return what it is given"),
        (lambda x: x.astype(np.float32), "projection: must return what it is given"),
    ],
)
def test_projections_that_do_not_fit(projection, message):
    with pytest.raises(sb.InvalidInputError, match=message):
        sb.minimize(toll_problem(), np.zeros(3), num_steps=2, projection=projection)


def slide(optimizer, x, gradient, projection, steps=300):
    """Projected steps on a linear objective."""

    def step(_, carry):
        x, state = carry
        updates, state = optimizer.update(gradient, state, x)
        return projection(optax.apply_updates(x, updates)), state

    return np.asarray(jax.lax.fori_loop(0, steps, step, (x, optimizer.init(x)))[0])


def test_scalar_adam_rests_at_stationary_points_only():
    """Minimize -x₁ - 2x₂ with x₁ + x₂ ≤ 1: Adam stays where it is, the optimum is (0, 1)."""
    start, gradient = jnp.array([0.5, 0.5]), jnp.array([-1.0, -2.0])
    projection = sb.budget(1.0, lower=0.0)
    stuck = slide(optax.adam(0.02), start, gradient, projection)
    np.testing.assert_allclose(stuck, [0.5, 0.5], atol=1e-6)
    solved = slide(sb.scalar_adam(0.02), start, gradient, projection)
    np.testing.assert_allclose(solved, [0.0, 1.0], atol=1e-6)


def test_scalar_adam_is_adam_for_one_number():
    x, state, other = (
        jnp.array(3.0),
        *(o.init(jnp.array(3.0)) for o in (sb.scalar_adam(0.1), optax.adam(0.1))),
    )
    y = x
    for _ in range(20):
        updates, state = sb.scalar_adam(0.1).update(2 * x, state)
        x = x + updates
        updates, other = optax.adam(0.1).update(2 * y, other)
        y = y + updates
    np.testing.assert_allclose(x, y, rtol=1e-6)
