"""Derivatives of the response against independent witnesses: modes, differences, unrolling."""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdps import ACTIONS, EPS, STATES, discounts, random_mdp, seeds, temperatures
from sobirl.core import Response
from sobirl.solvers import (
    Implicit,
    PolicyIteration,
    Unrolled,
    ValueIteration,
    pull_back,
    solve,
    solve_with_state,
)

ARRAYS = ("reward", "transition", "discount", "temperature", "reference_policy")
OUTPUTS = ("value", "q", "log_policy", "policy")

every_structure = pytest.mark.parametrize(
    ("operator", "varying"),
    [("Dense", False), ("SuccessorList", False), ("Dense", True)],
    ids=["Dense", "SuccessorList", "varying discount"],
)

two_structures = pytest.mark.parametrize(
    ("operator", "varying"),
    [
        pytest.param("SuccessorList", False, id="SuccessorList", marks=pytest.mark.slow),
        pytest.param("Dense", True, id="varying discount"),
    ],
)


def arrays_of(mdp):
    """What a response depends on, in the order of `ARRAYS`."""
    return (
        mdp.reward,
        mdp.transition.probabilities,
        mdp.discount,
        mdp.temperature,
        mdp.reference_policy,
    )


def draw_mdp(seed, discount, temperature, operator="Dense", varying=False):
    """A random MDP; with `varying`, its discounts (S,A) lie between 0 and `discount`."""
    if varying:
        uniform = np.random.default_rng(seed).uniform(size=(STATES, ACTIONS))
        discount = discount * uniform**0.2
    return random_mdp(seed, discount, temperature, operator)


def draw_direction(mdp, seed, *names):
    """A change of the named arrays, of the size at which the response begins to bend."""
    rng = np.random.default_rng(seed)
    smooth = np.minimum(mdp.temperature, 1.0)

    def noise(array):
        return rng.normal(size=array.shape) if array.ndim else 1.0

    rows = mdp.transition.probabilities
    tilt = rows * noise(rows)
    sizes = (
        mdp.temperature * noise(mdp.reward),
        smooth * (tilt - rows * tilt.sum(axis=-1, keepdims=True)),
        smooth * (1 - mdp.discount) * noise(mdp.discount),
        mdp.temperature,
        mdp.reference_policy * noise(mdp.reference_policy),
    )
    zeros = jax.tree.map(jnp.zeros_like, eqx.filter(mdp, eqx.is_inexact_array))
    changes = [size * (name in names) for name, size in zip(ARRAYS, sizes, strict=True)]
    return eqx.tree_at(arrays_of, zeros, changes)


def draw_cotangent(seed, *outputs):
    """Random weights of the named outputs of a response, zero for the others."""
    rng = np.random.default_rng(seed)
    shapes = [(STATES,)] + 3 * [(STATES, ACTIONS)]
    return tuple(
        rng.normal(size=shape) * (output in outputs)
        for output, shape in zip(OUTPUTS, shapes, strict=True)
    )


def inner(left, right):
    """⟨left, right⟩ and the sum of the absolute values of its terms."""
    terms = jax.tree.leaves(jax.tree.map(jnp.multiply, left, right))
    return sum(jnp.sum(term) for term in terms), sum(jnp.sum(jnp.abs(term)) for term in terms)


def along(gradient, direction):
    return inner(arrays_of(gradient), arrays_of(direction))


def outputs_of(mdp, **options):
    """The outputs of a response, in the order of `OUTPUTS`."""
    solution = solve(mdp, throw=False, **options)
    return tuple(getattr(solution, output) for output in OUTPUTS)


def loss(mdp, cotangent, **options):
    return inner(cotangent, outputs_of(mdp, **options))[0]


def moved(mdp, direction, t):
    return eqx.apply_updates(mdp, jax.tree.map(lambda d: t * d, direction))


def differences(function, step):
    """f'(0) by central differences of two steps, extrapolated to zero (Richardson)."""
    far_up, far_down, up, down = jax.lax.map(function, step * jnp.array([2.0, -2.0, 1.0, -1.0]))
    return (8 * (up - down) - (far_up - far_down)) / (12 * step)


def sensible_step(log_policy_change):
    """A step along which no log-probability moves by more than 0.001."""
    return 5e-4 / jnp.maximum(1.0, jnp.max(jnp.abs(log_policy_change)))


@eqx.filter_jit
def slopes(mdp, direction, cotangent):
    """d⟨cotangent, response⟩ in reverse, forward and by differences; its scale and rounding."""
    reverse, scale = along(eqx.filter_grad(loss)(mdp, cotangent), direction)
    outputs, changes = jax.jvp(lambda t: outputs_of(moved(mdp, direction, t)), (0.0,), (1.0,))
    forward, _ = inner(cotangent, changes)
    step = sensible_step(changes[OUTPUTS.index("log_policy")])
    difference = differences(lambda t: loss(moved(mdp, direction, t), cotangent), step)
    # Of dπ = π (dQ - dV)/τ, dV is most, and cancels.
    canceled = jnp.max(jnp.abs(changes[OUTPUTS.index("value")])) / mdp.temperature
    rounding = (100 + 8 * canceled) * EPS * inner(cotangent, outputs)[1]
    return reverse, forward, difference, scale, rounding, rounding / step


@every_structure
@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("output", OUTPUTS)
@given(seed=seeds, discount=discounts, temperature=temperatures)
def test_reverse_forward_and_differences_agree(
    operator, varying, array, output, seed, discount, temperature
):
    mdp = draw_mdp(seed, discount, temperature, operator, varying)
    direction, cotangent = draw_direction(mdp, seed, array), draw_cotangent(seed, output)
    reverse, forward, difference, scale, rounding, rounding_of_difference = slopes(
        mdp, direction, cotangent
    )
    assert abs(reverse - forward) <= 1e-9 * scale + rounding
    assert abs(reverse - difference) <= 1e-6 * scale + rounding_of_difference


@eqx.filter_jit
def curvatures(mdp, first, second, cotangent):
    """⟨second, H first⟩ by three routes, H the Hessian of the loss; its scale and rounding."""
    gradient = eqx.filter_grad(lambda mdp: loss(mdp, cotangent))

    def slope(mdp):
        return along(gradient(mdp), first)[0]

    value, over_reverse = eqx.filter_jvp(gradient, (mdp,), (first,))
    forward_over_reverse, scale = along(over_reverse, second)
    reverse_over_reverse, _ = along(eqx.filter_grad(slope)(mdp), second)
    _, change = jax.jvp(lambda t: outputs_of(moved(mdp, second, t))[2], (0.0,), (1.0,))
    step = sensible_step(change)
    difference = differences(lambda t: slope(moved(mdp, second, t)), step)
    rounding = 100 * EPS * along(value, first)[1]
    return forward_over_reverse, reverse_over_reverse, difference, scale, rounding / step


@two_structures
@pytest.mark.parametrize("array", ARRAYS)
@given(seed=seeds, discount=discounts, temperature=temperatures)
def test_second_derivatives_agree(operator, varying, array, seed, discount, temperature):
    mdp = draw_mdp(seed, discount, temperature, operator, varying)
    first, second = draw_direction(mdp, seed, array), draw_direction(mdp, seed + 1, *ARRAYS)
    forward_over_reverse, reverse_over_reverse, difference, scale, rounding = curvatures(
        mdp, first, second, draw_cotangent(seed, *OUTPUTS)
    )
    assert abs(forward_over_reverse - reverse_over_reverse) <= 1e-9 * scale
    assert abs(forward_over_reverse - difference) <= 1e-5 * scale + rounding


def assert_same_gradients(got, expected, rtol):
    """Equal as functions of changes that keep the rows of P at sum 1."""
    for name, left, right in zip(ARRAYS, arrays_of(got), arrays_of(expected), strict=True):
        if name == "transition":
            left, right = (x - x.mean(axis=-1, keepdims=True) for x in (left, right))
        scale = np.max(np.abs(right))
        np.testing.assert_allclose(left, right, atol=rtol * scale, rtol=0, err_msg=name)


@eqx.filter_jit
def gradient_by(mdp, cotangent, solver, adjoint):
    return eqx.filter_grad(loss)(mdp, cotangent, solver=solver, adjoint=adjoint)


UNROLLED = {
    "value iteration": (ValueIteration(max_steps=600), Unrolled(block=32)),
    "policy iteration": (PolicyIteration(max_steps=24), Unrolled(block=8)),
}


@two_structures
@pytest.mark.parametrize("solver", UNROLLED)
@given(seed=seeds, discount=st.sampled_from([0.1, 0.5, 0.9, 0.95]), temperature=temperatures)
def test_implicit_agrees_with_unrolled(operator, varying, solver, seed, discount, temperature):
    mdp = draw_mdp(seed, discount, temperature, operator, varying)
    cotangent = draw_cotangent(seed, *OUTPUTS)
    assert_same_gradients(
        gradient_by(mdp, cotangent, *UNROLLED[solver]),
        gradient_by(mdp, cotangent, PolicyIteration(), Implicit()),
        rtol=1e-8,
    )


@given(seed=seeds, discount=discounts, temperature=temperatures)
def test_unrolled_policy_iteration_agrees_whatever_the_discount(seed, discount, temperature):
    mdp = draw_mdp(seed, discount, temperature, "SuccessorList")
    cotangent = draw_cotangent(seed, *OUTPUTS)
    assert_same_gradients(
        gradient_by(mdp, cotangent, *UNROLLED["policy iteration"]),
        gradient_by(mdp, cotangent, PolicyIteration(), Implicit()),
        rtol=1e-8,
    )


@eqx.filter_jit
def pulled_back(mdp, cotangent):
    value, q, log_policy, policy = cotangent
    solver = PolicyIteration().resolve(mdp)
    solution, linear = solve_with_state(mdp, solver, Implicit(), jnp.zeros(STATES))
    cotangent = Response(value, q, log_policy + solution.policy * policy)
    return pull_back(mdp, solution.response, cotangent, solver.linear_solver, linear, rtol=1e-12)


@every_structure
@given(seed=seeds, discount=discounts, temperature=temperatures)
def test_pull_back_is_the_reverse_mode(operator, varying, seed, discount, temperature):
    mdp = draw_mdp(seed, discount, temperature, operator, varying)
    cotangent = draw_cotangent(seed, *OUTPUTS)
    pullback = pulled_back(mdp, cotangent)
    assert pullback.ok
    assert pullback.relative_residual <= 1e-10
    expected = gradient_by(mdp, cotangent, PolicyIteration(), Implicit())
    assert_same_gradients(pullback.mdp, expected, rtol=1e-10)


def test_value_iteration_has_the_same_implicit_derivative():
    mdp, cotangent = draw_mdp(0, 0.9, 0.3, "SuccessorList"), draw_cotangent(0, *OUTPUTS)
    assert_same_gradients(
        gradient_by(mdp, cotangent, ValueIteration(), Implicit()),
        gradient_by(mdp, cotangent, PolicyIteration(), Implicit()),
        rtol=1e-9,
    )


@pytest.mark.parametrize("temperature", [1e-3, 1.0])
def test_gradients_are_finite_where_an_action_is_forbidden(temperature):
    reference = np.ones((STATES, ACTIONS))
    reference[1, 2] = 0
    mdp = random_mdp(0, temperature=temperature, reference_policy=reference)
    gradient = gradient_by(
        mdp, draw_cotangent(0, "value", "q", "policy"), PolicyIteration(), Implicit()
    )
    assert all(bool(jnp.all(jnp.isfinite(array))) for array in arrays_of(gradient))
    assert gradient.reference_policy[1, 2] == 0


@pytest.fixture
def inexact(monkeypatch):
    """An adjoint all of whose linear systems are reported as missing their tolerance."""
    module = sys.modules[Implicit.__module__]
    honest = module.solve_adjoint

    def reported_as_missed(*arguments):
        return eqx.tree_at(lambda solution: solution.ok, honest(*arguments), jnp.asarray(False))

    monkeypatch.setattr(module, "solve_adjoint", reported_as_missed)
    return Implicit(rtol=2e-12)  # a tolerance that nothing else uses, so that nothing is cached


def test_a_missed_adjoint_tolerance_makes_the_derivative_nan(inexact):
    mdp, cotangent = random_mdp(0), draw_cotangent(0, *OUTPUTS)
    value, gradient = eqx.filter_value_and_grad(loss)(mdp, cotangent, adjoint=inexact)
    assert jnp.isfinite(value)
    assert all(bool(jnp.all(jnp.isnan(array))) for array in arrays_of(gradient))


# I - γP_π is diagonally dominant, so that its factorization is accurate: the tolerance is missed
# where the solution overflows.
TOO_LARGE = 1e308


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_an_adjoint_that_overflows_makes_the_derivative_nan(mode):
    mdp = random_mdp(0, 0.99)

    def value(reward):
        return solve(eqx.tree_at(lambda m: m.reward, mdp, reward), throw=False).value

    if mode == "reverse":
        primal, pull = jax.vjp(value, mdp.reward)
        (derivative,) = pull(jnp.full(STATES, TOO_LARGE))
    else:
        primal, derivative = jax.jvp(
            value, (mdp.reward,), (jnp.full((STATES, ACTIONS), TOO_LARGE),)
        )
    assert jnp.all(jnp.isfinite(primal))
    assert jnp.all(jnp.isnan(derivative))


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_an_adjoint_that_overflows_raises(wrap):
    mdp = random_mdp(0, 0.99)

    def derivative(reward):
        _, pull = jax.vjp(lambda r: solve(eqx.tree_at(lambda m: m.reward, mdp, r)).value, reward)
        return pull(jnp.full(STATES, TOO_LARGE))

    with pytest.raises(RuntimeError, match=r"The adjoint system .* was not solved"):
        jax.block_until_ready(wrap(derivative)(mdp.reward))


def test_an_adjoint_that_overflows_is_reported_by_pull_back():
    cotangent = draw_cotangent(0)
    cotangent[0][:] = TOO_LARGE
    assert not pulled_back(random_mdp(0, 0.99), cotangent).ok


def test_transition_cotangent_is_that_of_the_formula():
    """P̄(s,a,s') = γ w(s) π(a|s) V(s') entry by entry, rows of P not held to their sums."""
    mdp = draw_mdp(0, 0.999, 0.1)
    weights = np.random.default_rng(1).normal(size=STATES)
    solution = solve(mdp)
    cotangent = jax.grad(lambda m: jnp.vdot(weights, solve(m).value))(mdp)
    policy, value = np.asarray(solution.policy), np.asarray(solution.value)
    chain = np.einsum("sa,sat->st", policy, mdp.transition.probabilities)
    w = np.linalg.solve((np.eye(STATES) - 0.999 * chain).T, weights)
    expected = 0.999 * (w[:, None] * policy)[..., None] * value
    np.testing.assert_allclose(cotangent.transition.probabilities, expected, rtol=1e-7)
