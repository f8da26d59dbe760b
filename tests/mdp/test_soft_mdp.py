import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from mdps import ACTIONS, STATES, numpy_backup, random_mdp, random_rows, seeds, table
from sobirl.core import InvalidInputError
from sobirl.mdp import Dense, SoftMDP


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_a_reward_of_states_holds_for_every_action(rng):
    reward = rng.normal(size=STATES)
    np.testing.assert_array_equal(
        random_mdp(0, reward=reward).reward, np.tile(reward[:, None], (1, ACTIONS))
    )


def test_a_reward_of_states_and_actions_is_kept(rng):
    reward = rng.normal(size=(STATES, ACTIONS))
    np.testing.assert_array_equal(random_mdp(0, reward=reward).reward, reward)


@pytest.mark.parametrize("operator", ["Dense", "SuccessorList"])
def test_a_reward_of_transitions_is_averaged(operator, rng):
    reward = rng.normal(size=(STATES, ACTIONS, STATES))
    mdp = random_mdp(0, operator=operator, reward=reward)
    np.testing.assert_allclose(
        mdp.reward, (table(mdp.transition) * reward).sum(axis=-1), atol=1e-15
    )


@pytest.mark.parametrize("shape", [(), (STATES,), (STATES, ACTIONS)])
def test_discount_multiplies_the_next_value(shape, rng):
    discount, value = rng.uniform(0, 1, size=shape), jnp.asarray(rng.normal(size=STATES))
    mdp = random_mdp(0, discount=discount)
    discount_table = discount[:, None] if shape == (STATES,) else discount
    np.testing.assert_allclose(
        mdp.action_value(value),
        np.asarray(mdp.reward) + discount_table * (table(mdp.transition) @ np.asarray(value)),
        atol=1e-15,
    )


@given(seed=seeds)
def test_backup_agrees_with_numpy(seed):
    mdp = random_mdp(seed, temperature=0.3)
    value = jnp.asarray(np.random.default_rng(seed).normal(size=STATES))
    backed_up, q, policy = numpy_backup(mdp, np.asarray(value))
    response = mdp.respond(value)
    np.testing.assert_allclose(response.value, backed_up, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(response.q, q, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(response.policy, policy, rtol=1e-12)


def test_backup_does_not_overflow_at_a_small_temperature():
    mdp = random_mdp(0, temperature=1e-6, reward=1e3 * np.arange(STATES))
    response = mdp.respond(jnp.zeros(STATES))
    assert jnp.all(jnp.isfinite(response.log_policy))
    np.testing.assert_allclose(response.value, 1e3 * np.arange(STATES), atol=1e-5)


def test_the_policy_is_normalized_however_large_values_are_for_the_temperature():
    mdp = random_mdp(0, temperature=1e-10, reward=np.linspace(100, 400, STATES))
    response = mdp.respond(jnp.linspace(1e4, 2e4, STATES)).normalized()
    np.testing.assert_allclose(jnp.sum(response.policy, axis=-1), 1, rtol=1e-14)


def test_no_reference_policy_is_all_ones():
    value = jnp.arange(STATES, dtype=float)
    without = random_mdp(0, reference_policy=None).respond(value)
    ones = random_mdp(0, reference_policy=np.ones((STATES, ACTIONS))).respond(value)
    np.testing.assert_array_equal(without.value, ones.value)
    np.testing.assert_array_equal(without.log_policy, ones.log_policy)


def test_an_action_of_weight_zero_is_never_taken():
    reference = np.ones((STATES, ACTIONS))
    reference[1, 2] = 0
    policy = random_mdp(0, reference_policy=reference).respond(jnp.zeros(STATES)).policy
    assert policy[1, 2] == 0
    np.testing.assert_allclose(policy.sum(axis=-1), 1)


def test_gradients_are_finite_where_an_action_is_forbidden():
    reference = np.ones((STATES, ACTIONS))
    reference[1, 2] = 0

    def loss(mdp):
        response = mdp.respond(jnp.zeros(STATES))
        return jnp.sum(response.value**2) + jnp.sum(response.policy**2)

    gradient = jax.grad(loss)(random_mdp(0, reference_policy=reference))
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(gradient))
    assert gradient.reward[1, 2] == 0


@pytest.mark.parametrize("varying", [False, True], ids=["scalar discount", "varying discount"])
@given(seed=seeds)
def test_shifted_lowers_the_values_and_leaves_the_policy(varying, seed):
    rng = np.random.default_rng(seed)
    discount = rng.uniform(0, 0.99, size=(STATES, ACTIONS)) if varying else 0.95
    mdp = random_mdp(seed, discount=discount)
    value, shift = jnp.asarray(rng.normal(size=STATES)), jnp.asarray(3.0)
    response, lowered = mdp.respond(value), mdp.shifted(shift).respond(value - shift)
    np.testing.assert_allclose(lowered.value, response.value - shift, atol=1e-12)
    np.testing.assert_allclose(lowered.q, response.q - shift, atol=1e-12)
    np.testing.assert_allclose(lowered.log_policy, response.log_policy, atol=1e-12)


@pytest.mark.parametrize("discount", [0.9, np.full(STATES, 0.9), np.full((STATES, ACTIONS), 0.9)])
def test_policy_system_is_discounted_and_averaged_over_actions(discount):
    mdp = random_mdp(0, discount=discount)
    policy = mdp.respond(jnp.zeros(STATES)).policy
    expected = 0.9 * np.einsum("sa,sat->st", policy, table(mdp.transition))
    np.testing.assert_allclose(
        mdp.policy_system(policy).as_matrix(),
        np.eye(len(expected)) - expected,
        rtol=1e-13,
        atol=1e-15,
    )


def with_entry(shape, value):
    """An array of 0.5 whose last entry is `value`."""
    array = np.full(shape, 0.5)
    array[(-1,) * len(shape)] = value
    return array


BAD = [
    ("transition", np.ones((5, 3, 5)) / 5, r"such as sobirl\.Dense\(P\), got ndarray"),
    ("transition", None, "got NoneType"),
    ("reward", with_entry((5, 3), np.nan), r"must be finite, got nan at index \[4, 2\]"),
    ("reward", with_entry((5,), np.inf), r"must be finite, got inf at index \[4\]"),
    ("reward", np.ones((3, 5)), r"\(5,\) or \(5, 3\) or \(5, 3, 5\), got \(3, 5\)"),
    ("reward", 1.0, r"expected shape .*, got \(\)"),
    ("reward", "high", "expected real numbers"),
    ("reward", [[1.0, 2.0], [3.0]], "not a rectangular array of numbers"),
    ("reward", np.array([object()] * 5), "expected real numbers"),
    ("reward", {"a": 1}, "expected real numbers, got dict"),
    ("discount", 1.0, r"must lie in \[0, 1\), got 1\.0"),
    ("discount", 1.5, r"must lie in \[0, 1\)"),
    ("discount", -0.1, r"must lie in \[0, 1\), got -0\.1"),
    ("discount", np.nan, "must be finite"),
    ("discount", with_entry((5, 3), 1.0), r"must lie in \[0, 1\), got 1\.0 at index \[4, 2\]"),
    ("discount", np.full(3, 0.5), r"\(\) or \(5,\) or \(5, 3\), got \(3,\)"),
    ("temperature", 0.0, r"must be positive, got 0\.0"),
    ("temperature", -1, "must be positive, got -1"),
    ("temperature", np.nan, "must be finite"),
    ("temperature", np.ones(5), r"expected shape \(\), got \(5,\)"),
    ("temperature", "hot", "expected real numbers"),
    ("initial", np.full(5, 0.1), r"must sum to 1, got 0\.5"),
    ("initial", [1.5, -0.5, 0, 0, 0], r"must not be negative, got -0\.5 at index \[1\]"),
    ("initial", np.full(4, 0.25), r"expected shape \(5,\), got \(4,\)"),
    ("initial", 0, r"expected shape \(5,\), got \(\)"),
    ("reference_policy", with_entry((5, 3), -1), r"must not be negative.* at index \[4, 2\]"),
    ("reference_policy", np.ones((3, 5)), r"expected shape \(5, 3\), got \(3, 5\)"),
    (
        "reference_policy",
        np.eye(5, 3),
        r"each state needs an allowed action, got 0\.0 at index \[3\]",
    ),
]


@pytest.mark.parametrize(("name", "argument", "message"), BAD)
def test_bad_input_is_named(name, argument, message):
    with pytest.raises(InvalidInputError, match=f"^{name}: .*{message}"):
        random_mdp(0, **{name: argument})


def test_construction_from_traced_arrays(rng):
    rows, reward = random_rows(rng), rng.normal(size=(STATES, ACTIONS))
    initial, reference = np.full(STATES, 1 / STATES), rng.uniform(size=(STATES, ACTIONS))

    def backup(rows, reward, discount, temperature, initial, reference):
        mdp = SoftMDP(Dense(rows), reward, discount, temperature, initial, reference)
        return mdp.respond(jnp.ones(STATES)).value @ mdp.initial

    arguments = (rows, reward, 0.9, 0.5, initial, reference)
    concrete = backup(*arguments)
    np.testing.assert_allclose(jax.jit(backup)(*arguments), concrete, rtol=1e-14)
    batch = jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * 2), arguments)
    np.testing.assert_allclose(jax.vmap(backup)(*batch), [concrete] * 2, rtol=1e-14)
    value, gradients = jax.value_and_grad(backup, argnums=tuple(range(6)))(*arguments)
    np.testing.assert_allclose(value, concrete, rtol=1e-14)
    assert all(bool(jnp.any(gradient != 0)) for gradient in gradients)


def test_shapes_of_traced_arrays_are_checked():
    with pytest.raises(InvalidInputError, match="reward: expected shape"):
        jax.jit(lambda reward: random_mdp(0, reward=reward).reward)(jnp.ones(STATES + 1))


def test_an_mdp_is_a_pytree():
    mdp = random_mdp(0)
    assert eqx.tree_equal(jax.jit(lambda mdp: mdp)(mdp), mdp)
    assert mdp.shape == (STATES, ACTIONS)
