"""Independent components against the table that they stand for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from laws import MACHINES, SERVICE, fleet, fleet_of_lists, machines, table
from sobirl.core import InvalidInputError
from sobirl.mdp import Dense, Product


def kron(tables, joint):
    """The joint table (S,A,S)."""
    rows = [
        functools.reduce(np.kron, [each[:, a] for each, a in zip(tables, actions, strict=True)])
        for actions in joint
    ]
    return np.stack(rows, axis=1)


def test_is_the_kronecker_product():
    rng = np.random.default_rng(0)
    tables = machines(rng)
    law, joint = Product(tables, SERVICE), kron(tables, SERVICE)
    np.testing.assert_allclose(table(law), joint, atol=1e-15)
    weights = jnp.asarray(rng.normal(size=law.shape))
    np.testing.assert_allclose(law.push(weights), Dense(joint).push(weights), atol=1e-14)
    reward = jnp.asarray(rng.normal(size=joint.shape))
    np.testing.assert_allclose(law.expect_reward(reward), (joint * reward).sum(-1), atol=1e-14)


def test_lists_and_functions_are_components():
    law = fleet_of_lists(np.random.default_rng(1))
    tables = [table(component) for component in law.components]
    np.testing.assert_allclose(table(law), kron(tables, law.component_actions), atol=1e-15)
    assert law.num_entries == law.shape[0] * law.shape[1] * 2 * 3


def test_the_last_component_counts_fastest():
    law = fleet(np.random.default_rng(2))
    state = jnp.arange(law.shape[0])
    first, second, third = law.states_of(state)
    np.testing.assert_array_equal((first * MACHINES[1] + second) * MACHINES[2] + third, state)


@pytest.mark.parametrize("make", [fleet, fleet_of_lists])
def test_next_states_take_the_share_that_is_their_probability(make):
    law, draws = make(np.random.default_rng(3)), 4000
    uniform = (jnp.arange(draws) + 0.5) / draws
    state, action = jnp.full(draws, 5), jnp.full(draws, 1)
    drawn = np.asarray(law.next_state(uniform, state, action))
    share = np.bincount(drawn, minlength=law.shape[0]) / draws
    # Each of the intervals that a state has is off by one draw at most.
    np.testing.assert_allclose(share, table(law)[5, 1], atol=4 / draws)


def test_derivatives_in_the_components():
    rng = np.random.default_rng(4)
    tables = [jnp.asarray(each) for each in machines(rng)]
    values = jnp.asarray(rng.normal(size=np.prod(MACHINES)))
    weights = jnp.asarray(rng.normal(size=(values.size, len(SERVICE))))

    def loss(make):
        def of(tables):
            law = make(tables)
            return jnp.vdot(weights, law.expect(values) ** 2) + jnp.sum(law.push(weights) ** 2)

        return jax.jit(jax.grad(of))

    def full(tables):
        joint = [
            functools.reduce(jnp.kron, [each[:, a] for each, a in zip(tables, row, strict=True)])
            for row in SERVICE
        ]
        return Dense(jnp.stack(joint, axis=1))

    found, right = loss(lambda tables: Product(tables, SERVICE))(tables), loss(full)(tables)
    for one, other in zip(found, right, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_a_fleet_that_no_table_could_hold():
    """Sixteen machines: 65,536 joint states, and what is known of the next ones in advance."""
    wear = np.array([[[0.7, 0.3], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]])
    count = 16
    actions = np.vstack([np.zeros((1, count), int), np.eye(count, dtype=int)])
    law = Product([wear] * count, actions)
    assert law.shape == (2**count, count + 1)
    broken = sum(law.states_of(jnp.arange(law.shape[0])))
    ahead = jax.jit(lambda law, v: law.expect(v))(law, broken.astype(float))
    working = count - broken
    np.testing.assert_allclose(ahead[:, 0], broken + 0.3 * working, rtol=1e-12)
    first = law.states_of(jnp.arange(law.shape[0]))[0]
    serviced = ahead[:, 0] - jnp.where(first == 1, 1.0, 0.3)
    np.testing.assert_allclose(ahead[:, 1], serviced, rtol=1e-12, atol=1e-12)


ONE = np.full((2, 1, 2), 0.5)


@pytest.mark.parametrize(
    ("components", "actions", "message"),
    [
        (ONE, [[0]], "components: expected a list of laws, got ndarray"),
        ([], [[0]], "components: expected a list of laws"),
        ([ONE, np.ones((2, 2))], [[0, 0]], r"components\[1\]: transition: expected shape"),
        ([ONE * 2], [[0]], r"components\[0\]: transition: each row .* must sum to 1"),
        ([ONE, ONE], [[0]], r"component_actions: expected shape \(A, 2\).*got \(1, 1\)"),
        ([ONE], [0], r"component_actions: expected shape \(A, 1\)"),
        ([ONE], [[0.0]], "component_actions: expected integers, got float64"),
        (
            [ONE],
            [[0], [1]],
            r"component_actions: the components have \[1\] actions.* at .*\[1, 0\]",
        ),
        ([ONE], [[-1]], "component_actions: .*got -1"),
        ([ONE] * 32, [[0] * 32], "4,294,967,296 joint states are more than an index can count"),
    ],
)
def test_names_what_is_wrong(components, actions, message):
    with pytest.raises(InvalidInputError, match=message):
        Product(components, actions)


def test_solves_as_the_table_does():
    rng = np.random.default_rng(5)
    law = fleet(rng)
    reward, start = rng.normal(size=law.shape), np.full(law.shape[0], 1 / law.shape[0])
    solutions = [
        sb.solve(sb.SoftMDP(each, reward, 0.9, 0.1, start)) for each in (law, Dense(table(law)))
    ]
    np.testing.assert_allclose(solutions[0].value, solutions[1].value, rtol=1e-9)
