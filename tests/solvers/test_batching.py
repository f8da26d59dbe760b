import functools
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdps import OPERATORS, STATES, random_mdp
from sobirl.core import Status
from sobirl.mdp import rollout
from sobirl.solvers import PolicyIteration, ValueIteration, policy_return, solve

BATCH = 3
SOLVERS = {"policy iteration": PolicyIteration, "value iteration": ValueIteration}

every_solver = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS.keys())


def with_reward(mdp, reward):
    return eqx.tree_at(lambda m: m.reward, mdp, reward)


def with_temperature(mdp, temperature):
    return eqx.tree_at(lambda m: m.temperature, mdp, temperature)


def rewards(mdp):
    scales = jnp.linspace(0.5, 2, BATCH)
    return scales[:, None, None] * mdp.reward


def response(mdp, solver):
    solution = solve(mdp, solver, throw=False)
    return solution.response, solution.status, solution.stats.steps


def assert_equal_to_a_loop(function, batch, rtol=1e-11):
    """The vmap of a function gives what a loop over the batch gives."""
    got, each = jax.jit(jax.vmap(function))(batch), jax.jit(function)
    expected = jax.tree.map(lambda *x: jnp.stack(x), *[each(element) for element in batch])
    assert_close = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=1e-11)
    jax.tree.map(assert_close, got, expected)


@every_solver
@pytest.mark.parametrize("operator", OPERATORS)
def test_rewards(solver, operator):
    mdp = random_mdp(0, operator=operator)
    assert_equal_to_a_loop(lambda r: response(with_reward(mdp, r), solver()), rewards(mdp))


@every_solver
def test_temperatures(solver):
    mdp, temperatures = random_mdp(0), jnp.array([0.01, 0.1, 1.0])
    assert_equal_to_a_loop(lambda t: response(with_temperature(mdp, t), solver()), temperatures)


def test_transitions():
    laws = jnp.stack([random_mdp(i).transition.probabilities for i in range(BATCH)])
    mdp = random_mdp(0)
    assert_equal_to_a_loop(
        lambda p: response(
            eqx.tree_at(lambda m: m.transition.probabilities, mdp, p), PolicyIteration()
        ),
        laws,
    )


def test_initial_values():
    mdp = random_mdp(0)
    starts = jnp.asarray(np.random.default_rng(0).normal(size=(BATCH, STATES)))
    assert_equal_to_a_loop(lambda v: solve(mdp, initial_value=v, throw=False).value, starts)


@every_solver
def test_gradients(solver):
    mdp = random_mdp(0)

    def gradient(reward):
        return jax.grad(
            lambda r: jnp.sum(solve(with_reward(mdp, r), solver(), throw=False).policy ** 2)
        )(reward)

    assert_equal_to_a_loop(gradient, rewards(mdp))


def test_hessians():
    mdp = random_mdp(0)

    def hessian(temperature):
        return jax.hessian(
            lambda t: jnp.sum(solve(with_temperature(mdp, t), throw=False).policy ** 2)
        )(temperature)

    assert_equal_to_a_loop(hessian, jnp.array([0.1, 0.3, 1.0]), rtol=1e-9)


def test_seeds():
    mdp = random_mdp(0)
    log_policy = solve(mdp).log_policy
    keys = jax.random.split(jax.random.key(0), BATCH)
    assert_equal_to_a_loop(lambda key: rollout(mdp, log_policy, key, 10, 4), keys)


def test_returns():
    mdp = random_mdp(0)
    assert_equal_to_a_loop(
        lambda r: policy_return(with_reward(mdp, r), solve(mdp, throw=False).policy), rewards(mdp)
    )


@pytest.mark.slow  # `hypergrad/test_contract.py` batches contexts
def test_contexts_inside_seeds():
    mdp = random_mdp(0)
    goals = rewards(mdp)
    starts = jnp.asarray(np.random.default_rng(0).normal(size=(BATCH, *mdp.shape)))

    def objective(x, goal):
        policy = solve(with_reward(mdp, goal - x), throw=False).policy
        return policy_return(mdp, policy, reward=goal + x)

    def mean_by_vmap(x):
        return jnp.mean(jax.vmap(objective, (None, 0))(x, goals))

    def mean_by_loop(x):
        return sum(objective(x, goal) for goal in goals) / BATCH

    nested = jax.jit(jax.vmap(jax.value_and_grad(mean_by_vmap)))(starts)
    each = jax.jit(jax.value_and_grad(mean_by_loop))
    for i, start in enumerate(starts):
        value, gradient = each(start)
        np.testing.assert_allclose(nested[0][i], value, rtol=1e-11)
        np.testing.assert_allclose(nested[1][i], gradient, atol=1e-11)


@every_solver
def test_a_failing_element_leaves_the_others_alone(solver):
    mdp = random_mdp(0)
    batch = rewards(mdp).at[1, 0, 0].set(jnp.nan)
    solutions = jax.vmap(lambda r: solve(with_reward(mdp, r), solver(), throw=False))(batch)
    np.testing.assert_array_equal(solutions.status, [0, Status.NOT_FINITE, 0])
    np.testing.assert_allclose(
        solutions.value[2], solve(with_reward(mdp, batch[2])).value, rtol=1e-11
    )


def test_a_failing_element_raises_if_asked():
    mdp = random_mdp(0)
    batch = rewards(mdp).at[1, 0, 0].set(jnp.nan)
    with pytest.raises(RuntimeError, match="A value is NaN or infinite"):
        jax.block_until_ready(jax.vmap(lambda r: solve(with_reward(mdp, r)).value)(batch))


@pytest.mark.slow  # a process of its own
def test_nested_batches_do_not_hang():
    program = Path(__file__).with_name("nested_vmap.py")
    finished = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=400, check=False
    )
    assert finished.stdout == "finished\n", finished.stderr


@pytest.fixture
def counting():
    """A solver that counts how often it is traced, unknown to every compilation cache."""

    class Counting(PolicyIteration):
        traces: ClassVar[list] = []

        def init(self, mdp, value, linear=None):
            self.traces.append(1)
            return super().init(mdp, value, linear)

    return Counting()


def test_a_second_solve_does_not_compile_again(counting):
    first = solve(random_mdp(0), counting)
    count = len(counting.traces)
    assert count > 0
    solve(random_mdp(1, 0.5, 0.1), counting)
    solve(random_mdp(2, np.float64(0.5), jnp.asarray(3.0)), counting)
    solve(random_mdp(0, 0.8), counting, initial_value=first.value)
    assert len(counting.traces) == count


def test_a_second_gradient_does_not_compile_again(counting):
    def gradient(seed):
        mdp = random_mdp(seed)
        return jax.grad(lambda r: solve(with_reward(mdp, r), counting).value.sum())(mdp.reward)

    gradient(0)
    count = len(counting.traces)
    assert count > 0
    gradient(1)
    assert len(counting.traces) == count
