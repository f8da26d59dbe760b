import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

from mdps import (
    ACTIONS,
    OPERATORS,
    STATES,
    discounts,
    numpy_backup,
    random_mdp,
    random_rows,
    rounding,
    seeds,
    temperatures,
)
from sobirl.core import ConvergenceError, InvalidInputError, Response, Status
from sobirl.mdp import Dense, SoftMDP
from sobirl.solvers import Implicit, PolicyIteration, Solution, Unrolled, ValueIteration, solve

ASKED = PolicyIteration()
LOOSE = ValueIteration(rtol=1e-2, policy_tolerance=1e-1)
TOO_FEW = ValueIteration(max_steps=3)

every_operator = pytest.mark.parametrize("operator", OPERATORS)


def one_state(rewards, discount, temperature, reference=None):
    return SoftMDP(
        Dense(np.ones((1, len(rewards), 1))),
        np.asarray(rewards)[None],
        discount,
        temperature,
        np.ones(1),
        None if reference is None else np.asarray(reference)[None],
    )


@eqx.filter_jit
def solved(mdp, solver):
    return solve(mdp, solver, throw=False)


@every_operator
@given(seed=seeds, discount=st.sampled_from([0.1, 0.5, 0.9]), temperature=temperatures)
def test_policy_iteration_agrees_with_value_iteration(operator, seed, discount, temperature):
    mdp = random_mdp(seed, discount, temperature, operator)
    newton, sweeps = solved(mdp, PolicyIteration()), solved(mdp, ValueIteration())
    assert newton.status == sweeps.status == Status.CONVERGED
    assert newton.stats.steps <= 20
    # Each is as exact as was asked, and as rounding allows.
    scale = np.max(np.abs(newton.q))
    floor = 2 * rounding(scale, discount)
    atol = 2 * ASKED.rtol * scale + floor
    np.testing.assert_allclose(newton.value, sweeps.value, rtol=0, atol=atol)
    np.testing.assert_allclose(newton.q, sweeps.q, rtol=0, atol=atol)
    atol = 2 * ASKED.policy_tolerance + 2 * floor / temperature
    np.testing.assert_allclose(newton.log_policy, sweeps.log_policy, rtol=0, atol=atol)


@every_operator
@pytest.mark.parametrize("discount", [0.9, np.full(STATES, 0.9), np.diag([0.9] * 5)[:, :ACTIONS]])
def test_the_solution_is_a_fixed_point_of_the_numpy_backup(operator, discount):
    mdp = random_mdp(0, discount, operator=operator)
    solution = solve(mdp)
    value, q, policy = numpy_backup(mdp, np.asarray(solution.value))
    np.testing.assert_allclose(solution.value, value, rtol=1e-13)
    np.testing.assert_allclose(solution.q, q, rtol=1e-13)
    np.testing.assert_allclose(solution.policy, policy, rtol=1e-12)


@given(
    seed=seeds,
    discount=st.sampled_from([0.0, 0.5, 0.99, 0.9999]),
    temperature=st.sampled_from([1e-4, 1e-2, 1.0, 100.0]),
)
def test_closed_form_of_one_state(seed, discount, temperature):
    rng = np.random.default_rng(seed)
    rewards, reference = rng.normal(size=ACTIONS), rng.uniform(0.1, 1, size=ACTIONS)
    solution = solve(one_state(rewards, discount, temperature, reference))
    exponents = rewards / temperature + np.log(reference)
    np.testing.assert_allclose(
        solution.value,
        [temperature * logsumexp(exponents) / (1 - discount)],
        rtol=ASKED.rtol + rounding(1, discount),
        atol=rounding(np.max(np.abs(rewards)) + temperature, discount),
    )
    np.testing.assert_allclose(
        solution.log_policy[0],
        exponents - logsumexp(exponents),
        rtol=0,
        atol=ASKED.policy_tolerance + rounding(np.max(np.abs(exponents))),
    )


@pytest.mark.parametrize("varying", [False, True], ids=["scalar discount", "varying discount"])
@given(seed=seeds, discount=discounts, temperature=temperatures)
def test_error_bounds_hold(varying, seed, discount, temperature):
    uniform = np.random.default_rng(seed).uniform(size=(STATES, ACTIONS))
    mdp = random_mdp(seed, discount * uniform**0.2 if varying else discount, temperature)
    loose, exact = solved(mdp, LOOSE), solved(mdp, PolicyIteration())
    value_error = np.max(np.abs(loose.value - exact.value))
    policy_error = np.max(np.abs(loose.log_policy - exact.log_policy))
    assert loose.status == exact.status == Status.CONVERGED
    assert loose.stats.steps < solved(mdp, ValueIteration()).stats.steps
    largest = np.max(mdp.discount)
    of_the_value = rounding(np.max(np.abs(exact.q)), largest)
    assert value_error <= loose.stats.value_bound + of_the_value
    assert policy_error <= loose.stats.policy_bound + 2 * of_the_value / temperature
    np.testing.assert_allclose(
        loose.stats.value_bound, loose.residual / (1 - largest), rtol=rounding(1, largest)
    )


@given(seed=seeds, discount=discounts, temperature=temperatures)
def test_the_asked_accuracy_of_the_value_is_reached(seed, discount, temperature):
    mdp = random_mdp(seed, discount, temperature)
    loose = solved(mdp, ValueIteration(rtol=1e-4, policy_tolerance=float("inf")))
    exact = solved(mdp, PolicyIteration()).value
    middle = (np.max(exact) + np.min(exact)) / 2
    differences = (exact - middle, mdp.reward - (1 - discount) * middle)
    scale = max(np.max(np.abs(x)) for x in differences)
    assert np.max(np.abs(loose.value - exact)) <= 2e-4 * scale


@given(seed=seeds, discount=discounts, temperature=temperatures)
def test_the_asked_accuracy_of_the_policy_is_reached(seed, discount, temperature):
    mdp = random_mdp(seed, discount, temperature)
    loose = solved(mdp, ValueIteration(rtol=float("inf"), policy_tolerance=1e-4))
    exact = solved(mdp, PolicyIteration())
    assert np.max(np.abs(loose.log_policy - exact.log_policy)) <= 1e-4


@given(seed=seeds)
def test_the_reported_residual_is_that_of_the_returned_value(seed):
    mdp = random_mdp(seed, 0.99, 0.5)
    loose = solved(mdp, LOOSE)
    backed_up, _, _ = numpy_backup(mdp, np.asarray(loose.value))
    floor = rounding(np.max(np.abs(loose.q)))
    assert np.max(np.abs(backed_up - loose.value)) <= loose.residual + floor


def test_the_residual_counts_rows_that_were_normalized_in_float32():
    rows = random_rows(np.random.default_rng(0)).astype(np.float32)
    mdp = random_mdp(0, 0.999, transition=Dense(rows.astype(np.float64)), reward=np.ones(STATES))
    solution = solve(mdp)
    backed_up, _, _ = numpy_backup(mdp, np.asarray(solution.value))
    floor = rounding(np.max(np.abs(solution.q)))
    assert np.max(np.abs(backed_up - solution.value)) <= solution.residual + floor


@every_operator
def test_small_temperature_and_large_discount(operator):
    mdp = random_mdp(0, 0.9999, 1e-4, operator)
    solution = solve(mdp)
    assert solution.status == Status.CONVERGED
    assert solution.stats.steps <= 20
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(solution))
    # Q/τ is rounded, Q less what all its entries have in common; T V is rounded like V.
    floor = rounding(np.ptp(solution.q)) / mdp.temperature
    np.testing.assert_allclose(logsumexp(solution.log_policy, axis=-1), 0, atol=floor)
    floor = rounding(np.max(np.abs(solution.value)))
    change = np.max(np.abs(mdp.respond(solution.value).value - solution.value))
    assert change <= solution.residual + floor
    assert solution.residual <= 2 * floor


def test_response_of_a_solution():
    solution = solve(random_mdp(0))
    assert isinstance(solution.response, Response)
    np.testing.assert_allclose(solution.response.policy, np.exp(solution.log_policy), rtol=1e-14)


@pytest.mark.parametrize("solver", [PolicyIteration(), ValueIteration()], ids=["PI", "VI"])
def test_a_warm_start_takes_at_most_one_step(solver):
    mdp = random_mdp(0, 0.95)
    cold = solve(mdp, solver)
    warm = solve(mdp, solver, initial_value=cold.value)
    assert cold.stats.steps > 1
    assert warm.stats.steps <= 1
    np.testing.assert_allclose(warm.value, cold.value, rtol=1e-11)


@pytest.mark.parametrize("start", [-1e6, 1e6])
def test_newton_converges_from_far_away(start):
    mdp = random_mdp(0, 0.99, 0.01)
    far = solve(mdp, initial_value=jnp.full(STATES, start))
    np.testing.assert_allclose(far.value, solve(mdp).value, rtol=1e-10)


def test_unrolled_solves_alike():
    mdp = random_mdp(0)
    unrolled = solve(mdp, PolicyIteration(max_steps=24), Unrolled(block=8))
    np.testing.assert_allclose(unrolled.value, solve(mdp).value, rtol=1e-12)
    assert unrolled.status == Status.CONVERGED


def test_the_step_limit_raises_with_advice():
    message = r"Raise `max_steps`.*After 3 steps the Bellman residual was \d.*policy known to"
    with pytest.raises(ConvergenceError, match=message):
        solve(random_mdp(0), TOO_FEW)


@pytest.mark.parametrize("adjoint", [None, Unrolled(block=2)], ids=["Implicit", "Unrolled"])
def test_the_step_limit_is_flagged_without_throw(adjoint):
    solution = solve(random_mdp(0), TOO_FEW, adjoint, throw=False)
    assert solution.status == Status.STEP_LIMIT
    assert solution.residual > 0
    assert jnp.all(jnp.isfinite(solution.value))


@pytest.mark.parametrize("jit", [jax.jit, eqx.filter_jit], ids=["jit", "filter_jit"])
def test_the_step_limit_raises_inside_jit(jit):
    with pytest.raises(RuntimeError, match="Raise `max_steps`"):
        jax.block_until_ready(jit(lambda mdp: solve(mdp, TOO_FEW).value)(random_mdp(0)))


def test_the_step_limit_raises_under_grad():
    with pytest.raises(RuntimeError, match="Raise `max_steps`"):
        jax.grad(lambda mdp: solve(mdp, TOO_FEW).value.sum())(random_mdp(0))


def test_the_step_limit_is_flagged_inside_jit():
    assert solved(random_mdp(0), TOO_FEW).status == Status.STEP_LIMIT


def of_traced(name):
    """The status of a solve with argument `name`, as a compiled function of its value."""

    def status(argument):
        mdp = random_mdp(0, **{name: argument})
        return solve(mdp, throw=False).status

    return jax.jit(status)


@pytest.mark.parametrize("entry", [np.nan, np.inf, -np.inf])
def test_a_traced_reward_that_is_not_finite_is_flagged(entry):
    assert of_traced("reward")(jnp.full(STATES, entry)) == Status.NOT_FINITE


@pytest.mark.parametrize(
    ("name", "argument"),
    [("discount", 1.0), ("discount", 1.5), ("temperature", -1.0), ("temperature", 0.0)],
)
def test_a_traced_number_outside_its_range_is_flagged(name, argument):
    assert of_traced(name)(argument) == Status.INVALID


def test_rounding_that_blurs_the_policy_is_flagged():
    """In float32 near γ = 1 and at a low temperature the policy is not known."""
    double = random_mdp(0, 0.9999, 0.002)
    rounded = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), double)
    with jax.enable_x64(False):
        solution = solve(jax.tree.map(jnp.asarray, rounded), throw=False)
    assert solution.stats.policy_bound > 0.1
    assert solution.status == Status.ROUND_OFF


@pytest.mark.parametrize("read", ["value", "q", "log_policy", "policy"])
@pytest.mark.parametrize("wrap", [jax.jit, lambda f: jax.jit(jax.vmap(f))], ids=["jit", "vmap"])
def test_a_missed_tolerance_raises_whatever_is_read(read, wrap):
    rewards = jnp.ones((2, STATES, ACTIONS))
    rewards = rewards[0] if wrap is jax.jit else rewards
    function = wrap(lambda r: getattr(solve(random_mdp(0, reward=r), TOO_FEW), read))
    with pytest.raises(RuntimeError, match="Raise `max_steps`"):
        jax.block_until_ready(function(rewards))


def test_a_missed_tolerance_raises_in_a_compiled_gradient():
    first = jax.jit(jax.grad(lambda r: solve(random_mdp(0, reward=r), TOO_FEW).policy[0, 0]))
    with pytest.raises(RuntimeError, match="Raise `max_steps`"):
        jax.block_until_ready(first(jnp.ones((STATES, ACTIONS))))


def test_traced_negative_probabilities_are_flagged():
    table = np.array(random_mdp(0).transition.probabilities)
    table[0, 0, 0], table[0, 0, 1] = table[0, 0, 0] + 2, table[0, 0, 1] - 2
    status = jax.jit(lambda p: solve(random_mdp(0, transition=Dense(p)), throw=False).status)
    assert status(jnp.asarray(table)) == Status.INVALID


def test_tolerances_batch():
    """Numbers in a solver are leaves: a vmap over tolerances takes more steps for tighter ones."""
    mdp = random_mdp(0)
    steps = jax.vmap(lambda rtol: solve(mdp, ValueIteration(rtol, rtol), throw=False).stats.steps)(
        jnp.array([1e-2, 1e-6])
    )
    assert steps[0] < steps[1]
    values = jax.vmap(
        lambda rtol: solve(mdp, PolicyIteration(rtol, rtol), Implicit(rtol), throw=False).value
    )(jnp.array([1e-2, 1e-12]))
    np.testing.assert_allclose(values[1], solve(mdp).value, rtol=1e-12)


def test_a_nan_raises_inside_jit():
    with pytest.raises(RuntimeError, match="A value is NaN or infinite"):
        jax.block_until_ready(
            jax.jit(lambda r: solve(random_mdp(0, reward=r)).value)(jnp.full(STATES, jnp.nan))
        )


def policy_concentration(mdp):
    return jnp.sum(solve(mdp).policy ** 2)


@pytest.mark.parametrize("discount", [1 - 2**-4, 1 - 2**-10])
def test_float32(discount):
    double = random_mdp(0, discount, 0.125)
    exact, exact_gradient = solve(double), jax.grad(policy_concentration)(double).reward
    rounded = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), double)
    with jax.enable_x64(False):
        single = jax.tree.map(jnp.asarray, rounded)
        solution, gradient = solve(single), jax.grad(policy_concentration)(single).reward
    assert solution.status == Status.CONVERGED
    assert {leaf.dtype for leaf in jax.tree.leaves(solution.response)} == {np.dtype("float32")}
    np.testing.assert_allclose(solution.value, exact.value, rtol=1e-5)
    np.testing.assert_allclose(solution.log_policy, exact.log_policy, atol=1e-4)
    np.testing.assert_allclose(gradient, exact_gradient, atol=1e-4 * np.max(np.abs(exact_gradient)))


def test_mixed_precision():
    reward = np.ones((STATES, ACTIONS), np.float32)
    solution = solve(random_mdp(0, reward=reward))
    np.testing.assert_allclose(solution.value, solve(random_mdp(0, reward=reward * 1.0)).value)


@pytest.mark.parametrize(
    ("initial_value", "message"),
    [
        (jnp.zeros(STATES + 1), r"initial_value: expected shape \(5,\), got \(6,\)"),
        (jnp.full(STATES, jnp.nan), r"initial_value: must be finite, got nan at index \[0\]"),
    ],
)
def test_a_bad_initial_value_is_named(initial_value, message):
    with pytest.raises(InvalidInputError, match=message):
        solve(random_mdp(0), initial_value=initial_value)


@pytest.mark.parametrize("solver", [PolicyIteration, ValueIteration])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_steps", 0, "must be at least 1, got 0"),
        ("rtol", -1.0, "must not be negative, got -1"),
        ("policy_tolerance", float("nan"), "must not be negative, got nan"),
    ],
)
def test_bad_solver_settings_are_named(solver, name, value, message):
    with pytest.raises(InvalidInputError, match=f"{name}: {message}"):
        solver(**{name: value})


class Oracle(eqx.Module):
    """A lower level that is no soft MDP."""

    answer: Solution

    def solve(self, initial_value, throw):
        return self.answer


def test_another_lower_level_answers_with_its_own_solve():
    answer = solve(random_mdp(0))
    assert solve(Oracle(answer)) is answer
