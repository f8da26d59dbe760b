import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from jax.test_util import check_grads

from mdps import (
    ACTIONS,
    OPERATORS,
    STATES,
    random_rows,
    random_successor_list,
    random_successors,
    seeds,
    table,
)
from sobirl.core import InvalidInputError
from sobirl.mdp import Dense, SuccessorList

every_operator = pytest.mark.parametrize("make", OPERATORS.values(), ids=OPERATORS.keys())


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def random_vectors(rng):
    """A function of the states (S,) and a weight of states and actions (S,A)."""
    return jnp.asarray(rng.normal(size=STATES)), jnp.asarray(rng.normal(size=(STATES, ACTIONS)))


@every_operator
@given(seed=seeds)
def test_push_is_the_transpose_of_expect(make, seed):
    rng = np.random.default_rng(seed)
    transition, (values, weights) = make(rng), random_vectors(rng)
    np.testing.assert_allclose(
        jnp.vdot(transition.expect(values), weights),
        jnp.vdot(values, transition.push(weights)),
        atol=1e-13,
    )


@every_operator
@given(seed=seeds)
def test_matrix_agrees_with_expect(make, seed):
    rng = np.random.default_rng(seed)
    transition, (values, weights) = make(rng), random_vectors(rng)
    np.testing.assert_allclose(
        transition.matrix(weights) @ values,
        jnp.sum(weights * transition.expect(values), axis=-1),
        atol=1e-13,
    )


@every_operator
def test_shape_and_rows(make, rng):
    transition = make(rng)
    assert transition.shape == (STATES, ACTIONS)
    np.testing.assert_allclose(transition.expect(jnp.ones(STATES)), 1, rtol=1e-14)


@every_operator
def test_expect_reward_averages_over_the_successor(make, rng):
    transition = make(rng)
    reward = rng.normal(size=(STATES, ACTIONS, STATES))
    np.testing.assert_allclose(
        transition.expect_reward(jnp.asarray(reward)),
        (table(transition) * reward).sum(axis=-1),
        atol=1e-14,
    )


@every_operator
def test_sample_frequencies(make, rng):
    transition, draws = make(rng), 4000
    pairs = jnp.array([(s, a) for s in range(STATES) for a in range(ACTIONS)])
    keys = jax.random.split(jax.random.key(0), (len(pairs), draws))
    sample = jax.vmap(
        lambda keys, pair: jax.vmap(lambda key: transition.sample(key, pair[0], pair[1]))(keys)
    )
    next_states = np.asarray(jax.jit(sample)(keys, pairs))
    frequency = (next_states[..., None] == np.arange(STATES)).mean(axis=1)
    probability = table(transition).reshape(len(pairs), STATES)
    deviation = np.sqrt(probability * (1 - probability) / draws)
    assert np.all(np.abs(frequency - probability) <= 4.5 * deviation)


@every_operator
def test_the_same_key_gives_the_same_sample(make, rng):
    transition, key = make(rng), jax.random.key(1)
    first, second = (transition.sample(key, jnp.array(2), jnp.array(1)) for _ in range(2))
    assert first == second
    assert first.dtype == jnp.array(2).dtype


@every_operator
def test_derivatives_in_the_probabilities(make, rng):
    transition, (values, weights) = make(rng), random_vectors(rng)
    reward = jnp.asarray(rng.normal(size=(STATES, ACTIONS, STATES)))

    def everything(probabilities):
        changed = jax.tree.map(
            lambda leaf: probabilities if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
            transition,
        )
        return (
            changed.expect(values),
            changed.push(weights),
            changed.matrix(weights),
            changed.expect_reward(reward),
        )

    check_grads(jax.jit(everything), (transition.probabilities,), order=1)


def test_the_two_operators_agree_on_the_same_law(rng):
    successors = random_successor_list(rng)
    dense = Dense(table(successors))
    values, weights = random_vectors(rng)
    reward = jnp.asarray(rng.normal(size=(STATES, ACTIONS, STATES)))
    for of in (
        lambda transition: transition.expect(values),
        lambda transition: transition.push(weights),
        lambda transition: transition.matrix(weights),
        lambda transition: transition.expect_reward(reward),
    ):
        np.testing.assert_allclose(of(successors), of(dense), atol=1e-14)


def test_gradients_of_the_two_operators_agree(rng):
    successors = random_successor_list(rng)
    dense = Dense(table(successors))
    values, weights = random_vectors(rng)

    def loss(transition):
        return jnp.vdot(weights, transition.expect(values) ** 2)

    by_place = jax.grad(loss, allow_int=True)(successors).probabilities
    by_state = jax.grad(loss)(dense).probabilities
    np.testing.assert_allclose(
        by_place, np.take_along_axis(by_state, successors.successors, axis=-1), atol=1e-14
    )


def test_repeated_successors_add_up():
    transition = SuccessorList(np.zeros((1, 1, 3), int), np.array([[[0.2, 0.3, 0.5]]]))
    np.testing.assert_allclose(transition.matrix(jnp.ones((1, 1))), 1)
    np.testing.assert_allclose(transition.push(jnp.ones((1, 1))), 1)


def every_transition():
    """States, actions and next states of all S·A·S transitions."""
    return (jnp.ravel(i) for i in np.indices((STATES, ACTIONS, STATES)))


@every_operator
def test_probabilities_of_single_transitions(make, rng):
    transition = make(rng)
    probability = transition.probability(*every_transition())
    np.testing.assert_allclose(probability, table(transition).ravel(), atol=1e-15)


@every_operator
def test_next_states_take_the_share_of_the_unit_interval_that_is_their_probability(make, rng):
    transition, grid = make(rng), 2000
    uniform = (np.arange(grid) + 0.5) / grid
    state, action = jnp.full(grid, 3), jnp.full(grid, 2)
    drawn = np.asarray(transition.next_state(jnp.asarray(uniform), state, action))
    share = (drawn[:, None] == np.arange(STATES)).mean(axis=0)
    np.testing.assert_allclose(share, table(transition)[3, 2], atol=1 / grid)


@every_operator
def test_derivatives_of_single_probabilities(make, rng):
    transition, place = make(rng), tuple(every_transition())

    def probability(probabilities):
        changed = eqx.tree_at(lambda t: t.probabilities, transition, probabilities)
        return changed.probability(*place)

    check_grads(jax.jit(probability), (transition.probabilities,), order=1)


def repeated():
    """Both successors of both actions in two places each."""
    successors = np.array([[[0, 1, 1, 0], [1, 1, 0, 0]]] * 2)
    return SuccessorList(successors, np.full((2, 2, 4), [0.1, 0.2, 0.3, 0.4]))


def test_probabilities_of_repeated_successors_add_up():
    transition = repeated()
    ones, zeros = jnp.ones(2, int), jnp.zeros(2, int)
    after = jnp.arange(2)
    np.testing.assert_allclose(transition.probability(ones, zeros, after), [0.5, 0.5])
    np.testing.assert_allclose(transition.probability(ones, ones, after), [0.7, 0.3])
    slope = jax.grad(lambda t: t.probability(ones, ones, after)[0], allow_int=True)(transition)
    np.testing.assert_allclose(slope.probabilities[1, 1], [0, 0, 1, 1])


def test_repeated_successors_are_drawn_from_each_of_their_places():
    uniform = jnp.array([0.05, 0.2, 0.5, 0.9])
    drawn = repeated().next_state(uniform, jnp.ones(4, int), jnp.zeros(4, int))
    np.testing.assert_array_equal(drawn, [0, 1, 1, 0])


def rows(change):
    """Valid probabilities (S,A,S) after `change` was done to them in place."""
    probabilities = random_rows(np.random.default_rng(0))
    change(probabilities)
    return probabilities


def scale_two_rows(probabilities):
    probabilities[2, 1] *= 2
    probabilities[4, 0] *= 2


def set_entry(entry):
    def change(probabilities):
        probabilities[2, 1, 0] = entry

    return change


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        (rows(scale_two_rows), r"must sum to 1, got 2\.0.* at index \[2, 1\] \(and 1 more\)"),
        (rows(set_entry(-0.5)), r"must not be negative, got -0\.5 at index \[2, 1, 0\]"),
        (rows(set_entry(np.nan)), r"must be finite, got nan at index \[2, 1, 0\]"),
        (np.ones((5, 5)) / 5, r"expected shape \(S, A, S\), got \(5, 5\)"),
        (np.ones((5, 3, 4)) / 4, r"expected shape \(S, A, S\), got \(5, 3, 4\)"),
        (np.ones((0, 3, 0)), r"expected shape \(S, A, S\), got \(0, 3, 0\)"),
        (np.ones((2, 0, 2)), r"expected shape \(S, A, S\), got \(2, 0, 2\)"),
        ("P", "expected real numbers"),
        ([[[1.0], [0.5, 0.5]]], "not a rectangular array"),
        (None, "expected real numbers, got NoneType"),
    ],
)
def test_dense_names_what_is_wrong(probabilities, message):
    with pytest.raises(InvalidInputError, match=f"transition: .*{message}"):
        Dense(probabilities)


SUCCESSORS = random_successors(np.random.default_rng(0))
PLACES = random_rows(np.random.default_rng(0), SUCCESSORS.shape[-1])


@pytest.mark.parametrize(
    ("successors", "probabilities", "message"),
    [
        (SUCCESSORS, PLACES * 1.1, r"transition: .*must sum to 1, got 1\.1.* at index \[0, 0\]"),
        (SUCCESSORS, PLACES - 1, "transition: probabilities must not be negative"),
        (SUCCESSORS, PLACES * np.nan, "transition: must be finite"),
        (SUCCESSORS.astype(float), PLACES, "successors: expected integers, got float64"),
        (SUCCESSORS + 1, PLACES, r"successors: states are 0 to 4, got 5 at index \[\d, \d, \d\]"),
        (SUCCESSORS - 1, PLACES, "successors: states are 0 to 4, got -1"),
        (SUCCESSORS[..., :1], PLACES, r"successors: expected shape \(S, A, K\).*\(5, 3, 2\)"),
        (SUCCESSORS[0], PLACES[0], r"successors: expected shape \(S, A, K\)"),
        ([[[0], [0, 1]]], PLACES, "successors: not a rectangular table"),
    ],
)
def test_successor_list_names_what_is_wrong(successors, probabilities, message):
    with pytest.raises(InvalidInputError, match=message):
        SuccessorList(successors, probabilities)


@pytest.mark.parametrize("wrap", [jax.jit, jax.vmap], ids=["jit", "vmap"])
def test_construction_from_traced_probabilities(wrap, rng):
    batch = jnp.asarray(np.stack([random_rows(rng), random_rows(rng)]))
    argument = batch if wrap is jax.vmap else batch[0]
    values = jnp.arange(STATES, dtype=float)
    np.testing.assert_allclose(
        wrap(lambda rows: Dense(rows).expect(values))(argument), argument @ values
    )


def test_successor_lists_from_traced_tables():
    """Contexts may have different maps."""
    successors = jnp.stack([jnp.asarray(SUCCESSORS), jnp.asarray(SUCCESSORS)[::-1]])
    values = jnp.arange(float(STATES))
    together = jax.vmap(lambda s: SuccessorList(s, PLACES).expect(values))(successors)
    apart = [SuccessorList(s, PLACES).expect(values) for s in successors]
    np.testing.assert_allclose(together, jnp.stack(apart))
