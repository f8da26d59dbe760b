"""Lists of more than 2,000 states: the transposed list, and what the successors tell a solver."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laws import SIDE, chances, grid, random_grid
from sobirl.core import InvalidInputError
from sobirl.mdp import SuccessorList

STATES = SIDE**2


@pytest.fixture(scope="module")
def law():
    return random_grid(np.random.default_rng(0))


def shuffled(successors, rng):
    """The same law with its states in another order."""
    order = rng.permutation(len(successors))
    return order[successors[np.argsort(order)]]


def pushed(law, weights):
    """`push` by numpy."""
    flow = np.asarray(weights)[..., None] * np.asarray(law.probabilities)
    return np.bincount(np.ravel(law.successors), np.ravel(flow), minlength=len(law.successors))


def test_both_ways_to_push_are_the_same_map(law):
    weights = jnp.asarray(np.random.default_rng(1).normal(size=law.shape))
    assert law.incoming is not None
    assert law.incoming.rest.size
    scattering = eqx.tree_at(lambda t: t.incoming, law, None, is_leaf=lambda x: x is None)
    for one in (law, scattering):
        np.testing.assert_allclose(
            jax.jit(lambda one: one.push(weights))(one), pushed(law, weights), atol=1e-13
        )


def test_derivatives_of_both_ways_agree(law):
    values = jnp.asarray(np.random.default_rng(2).normal(size=STATES))
    weights = jnp.asarray(np.random.default_rng(3).normal(size=law.shape))

    @jax.jit
    def slopes(law, weights):
        def loss(probabilities, weights):
            changed = eqx.tree_at(lambda t: t.probabilities, law, probabilities)
            return jnp.vdot(values, changed.push(weights) ** 2)

        return jax.grad(loss, argnums=(0, 1))(law.probabilities, weights)

    scattering = eqx.tree_at(lambda t: t.incoming, law, None, is_leaf=lambda x: x is None)
    for one, other in zip(slopes(law, weights), slopes(scattering, weights), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-11)


def test_far_successors_are_scattered():
    rng = np.random.default_rng(4)
    successors = rng.integers(0, STATES, (STATES, 2, 2))
    law = SuccessorList(successors, chances(rng, successors))
    assert law.incoming is None
    assert law.bandwidth > STATES / 4
    weights = jnp.asarray(rng.normal(size=law.shape))
    np.testing.assert_allclose(law.push(weights), pushed(law, weights), atol=1e-13)


def test_bandwidth_of_a_grid_in_order_and_out_of_order():
    rng = np.random.default_rng(5)
    for successors, most in ((grid(), SIDE), (shuffled(grid(), rng), 3 * SIDE)):
        law = SuccessorList(successors, chances(rng, successors))
        assert 2 <= law.bandwidth <= most


def test_a_state_that_many_lead_to_counts_once():
    """Elimination takes it last, however far it is."""
    rng, successors = np.random.default_rng(6), grid()
    successors[:, 0, 0] = STATES - 1
    law = SuccessorList(successors, chances(rng, successors))
    assert law.bandwidth == SIDE + 1


def test_bandwidth_survives_compilation_and_is_unknown_of_tracers(law):
    seen = []

    @jax.jit
    def look(law, successors, probabilities):
        seen.extend([law.bandwidth, SuccessorList(successors, probabilities).bandwidth])
        return law

    assert look(law, law.successors, law.probabilities).bandwidth == law.bandwidth
    assert seen == [law.bandwidth, None]


def test_small_lists_are_left_alone():
    successors = grid(5)
    law = SuccessorList(successors, chances(np.random.default_rng(7), successors))
    assert law.structure == (None, None)


def test_the_structure_serves_other_probabilities(law):
    rng = np.random.default_rng(8)
    other = chances(rng, law.successors)
    again = SuccessorList(law.successors, other, structure=law.structure)
    assert again.bandwidth == law.bandwidth
    weights = jnp.asarray(rng.normal(size=law.shape))
    np.testing.assert_allclose(again.push(weights), pushed(again, weights), atol=1e-13)

    @jax.jit
    def moved(probabilities):
        return SuccessorList(law.successors, probabilities, structure=law.structure).push(weights)

    np.testing.assert_allclose(moved(jnp.asarray(other)), again.push(weights), atol=1e-13)


def test_the_structure_of_other_successors_is_refused(law):
    rng = np.random.default_rng(9)
    others = (grid()[:, ::-1], grid()[..., :3], grid(SIDE + 1))
    for successors in others:
        with pytest.raises(InvalidInputError, match="structure: does not belong to these"):
            SuccessorList(successors, chances(rng, successors), structure=law.structure)


def test_many_values_at_once(law):
    values = jnp.asarray(np.random.default_rng(10).normal(size=(3, STATES)))
    together = jax.jit(jax.vmap(law.expect))(values)
    for row, alone in zip(values, together, strict=True):
        expected = (np.asarray(law.probabilities) * np.asarray(row)[law.successors]).sum(-1)
        np.testing.assert_allclose(alone, expected, atol=1e-13)
