"""Laws as functions: what they compute, what they keep, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from laws import queue, table
from sobirl.core import InvalidInputError
from sobirl.mdp import FunctionTransition, SoftMDP

POINT = jnp.array([0.3, 0.6])


def law(arguments=POINT, block=16):
    return FunctionTransition(queue, 40, 3, arguments=arguments, block=block)


def test_is_the_law_that_its_list_is():
    np.testing.assert_allclose(table(law()), table(law().as_list()), atol=1e-15)
    assert law().num_entries == 40 * 3 * 3


@pytest.mark.parametrize("block", [1, 7, 40, 1000])
def test_blocks_make_no_difference(block):
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(40, 3)))
    np.testing.assert_allclose(law(block=block).push(weights), law().push(weights), atol=1e-14)


def test_derivatives_in_arguments_and_in_a_closure():
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(40, 3)))

    def of_arguments(x):
        return jnp.sum(law(x).push(weights) ** 2)

    def of_closure(x):
        closed = FunctionTransition(lambda s, a: queue(x, s, a), 40, 3)
        return jnp.sum(closed.push(weights) ** 2)

    def of_list(x):
        return jnp.sum(law(x).as_list().push(weights) ** 2)

    right = jax.jit(jax.hessian(of_list))(POINT)
    for function in (of_arguments, of_closure):
        np.testing.assert_allclose(
            jax.jit(jax.grad(function))(POINT), jax.grad(of_list)(POINT), rtol=1e-10
        )
        np.testing.assert_allclose(jax.jit(jax.hessian(function))(POINT), right, rtol=1e-9)


def test_other_arguments_are_no_other_program():
    traces = []

    @jax.jit
    def expect(law):
        traces.append(None)
        return law.expect(jnp.arange(40.0))

    expect(law()), expect(law(POINT / 2))
    assert len(traces) == 1


def test_nothing_of_the_size_of_the_list_is_kept():
    states, actions, places = 20_000, 4, 8

    def far(rate, state, action):
        steps = jnp.arange(places)
        return (7 * state + 13 * steps + action) % states, jax.nn.softmax(rate * steps)

    law = FunctionTransition(far, states, actions, arguments=jnp.array(0.3), block=512)
    values, weights = jnp.ones(states), jnp.ones((states, actions))

    def loss(law, values, weights):
        return jnp.sum(law.expect(values) ** 2) + jnp.sum(law.push(weights) ** 2)

    program = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(law, values, weights).compile()
    assert program.memory_analysis().temp_size_in_bytes < states * actions * places * 8


def test_lives_in_a_soft_mdp():
    mdp = SoftMDP(law(), np.zeros((40, 3)), 0.9, 0.1, np.full(40, 1 / 40))
    ahead = mdp.respond(jnp.arange(40.0))
    again = SoftMDP(law().as_list(), np.zeros((40, 3)), 0.9, 0.1, np.full(40, 1 / 40))
    np.testing.assert_allclose(ahead.value, again.respond(jnp.arange(40.0)).value, rtol=1e-13)


def rows(there, chances):
    return lambda state, action: (jnp.asarray(there), jnp.asarray(chances))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("next", r"expected a function \(state, action\), got str"),
        (lambda s, a: s, r"must return next states \(K,\), integers, .*got int32\[\]"),
        (rows([0.0], [1.0]), "must return next states"),
        (rows([0, 1], [1.0]), r"got \(int64\[2\], float64\[1\]\)"),
        (lambda s, a: ([0], [1.0]) if s else ([1], [1.0]), "must be a JAX function .*Tracer"),
        (lambda s: s, "must be a JAX function of two traced integers"),
        (rows([5], [1.0]), "next states of state 0, action 0: states are 0 to 4, got 5"),
        (rows([-1], [1.0]), "next states of state 0, action 0: states are 0 to 4, got -1"),
        (rows([0, 1], [0.5, 0.6]), "of state 0, action 0: must sum to 1, got 1.1"),
        (rows([0, 1], [1.5, -0.5]), "state 0, action 0: must be finite and not negative, got -0.5"),
        (rows([0], [np.nan]), "state 0, action 0: must be finite and not negative, got nan"),
        (
            lambda s, a: (s[None] + (s == 4) * (a == 1), jnp.ones(1)),
            "next states of state 4, action 1: states are 0 to 4, got 5",
        ),
    ],
)
def test_names_what_is_wrong(function, message):
    with pytest.raises(InvalidInputError, match=f"successors: .*{message}"):
        FunctionTransition(function, 5, 2)


@pytest.mark.parametrize("name", ["num_states", "num_actions", "block"])
def test_sizes_are_positive_integers(name):
    sizes = {"num_states": 5, "num_actions": 2} | {name: 0}
    with pytest.raises(InvalidInputError, match=f"{name}: expected a positive integer, got 0"):
        FunctionTransition(rows([0], [1.0]), **sizes)


def test_the_response_is_differentiated_in_arguments():
    reward, start = np.linspace(0, 1, 120).reshape(40, 3), np.full(40, 1 / 40)

    def value(make):
        def of(x):
            mdp = SoftMDP(make(law(x)), reward, 0.9, 0.1, start)
            return jnp.vdot(start, sb.solve(mdp, throw=False).value)

        return jax.jit(jax.value_and_grad(of))

    found, right = value(lambda law: law)(POINT), value(lambda law: law.as_list())(POINT)
    np.testing.assert_allclose(found[0], right[0], rtol=1e-10)
    np.testing.assert_allclose(found[1], right[1], rtol=1e-8)
