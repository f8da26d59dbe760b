"""Rewards from demonstrations: two objectives, their derivatives, what is identified."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from mdps import ACTIONS, STATES, random_mdp, random_rows
from sobirl.estimation.shaping import shaped

WEIGHTS = np.array([1.0, -0.5])
FEATURES = np.random.default_rng(3).normal(size=(STATES, ACTIONS, 2))


@pytest.fixture(scope="module")
def mdp():
    return random_mdp(0, temperature=1.5, reward=np.zeros((STATES, ACTIONS)))


@pytest.fixture(scope="module")
def demonstrations(mdp):
    inhabited = with_reward(mdp, FEATURES @ WEIGHTS)
    steps = sb.rollout(inhabited, sb.solve(inhabited).log_policy, jax.random.key(0), 30, 60)
    return sb.Demonstrations.of_rollout(steps)


def with_reward(mdp, reward):
    return eqx.tree_at(lambda m: m.reward, mdp, jnp.asarray(reward))


@pytest.fixture(scope="module")
def likely(mdp, demonstrations):
    return sb.MaximumLikelihoodIRL(mdp, FEATURES).fit(demonstrations, held_out=0.2)


@pytest.fixture(scope="module")
def matched(mdp, demonstrations):
    model = sb.MaximumLikelihoodIRL(mdp, FEATURES, objective="causal-entropy")
    return model.fit(demonstrations, tolerance=1e-8)


def test_the_weights_are_recovered(likely):
    assert np.abs((likely.x - WEIGHTS) / likely.standard_errors).max() < 3.5
    assert likely.identification.rank == 2
    assert abs(likely.held_out_log_likelihood - likely.log_likelihood) < 0.1


def test_maximum_causal_entropy_matches_feature_counts(matched):
    expected, seen = matched.feature_counts()
    np.testing.assert_allclose(expected, seen, atol=1e-5)
    assert np.abs(matched.x - WEIGHTS).max() < 0.5  # it is not the true one that matches


def test_counts_by_hand(mdp):
    """Two episodes, added up step by step."""
    columns = {"episode": [7, 7, 7, 2], "step": [0, 1, 2, 5]}
    columns |= {"state": [0, 1, 0, 4], "action": [2, 0, 2, 1]}
    tables = sb.Demonstrations.read(columns, mdp).tables(mdp)
    gamma = float(mdp.discount)
    assert tables.counts[0, 2] == 2
    np.testing.assert_allclose([tables.visits[0, 2], tables.visits[1, 0]], [1, gamma])
    np.testing.assert_allclose([tables.last[0, 2], tables.last[4, 1]], [gamma**2, 1])
    np.testing.assert_array_equal(tables.first, [1, 0, 0, 0, 1])


@pytest.mark.parametrize("objective", ["likelihood", "causal-entropy"])
def test_two_witnesses_of_the_gradient(mdp, demonstrations, objective):
    """Finite differences, and the solver differentiated step by step, for a network's reward."""
    inputs = jnp.eye(STATES)
    weights = {
        "hidden": np.random.default_rng(0).normal(size=(STATES, 4)),
        "out": np.random.default_rng(1).normal(size=(4, ACTIONS)),
    }

    def network(x):
        return jnp.tanh(inputs @ x["hidden"]) @ x["out"]

    model = sb.MaximumLikelihoodIRL(mdp, reward=network, x0=weights, objective=objective)
    problem = model.problem(demonstrations, penalty=0.01)
    x = jax.tree.map(jnp.asarray, weights)

    def unrolled(x):
        solution = sb.solve(
            problem.follower(x), sb.ValueIteration(max_steps=400), adjoint=sb.Unrolled(block=20),
            throw=False,
        )  # fmt: skip
        return problem.objective(x, solution)

    def slope(direction, size=1e-5):
        ends = [jax.tree.map(lambda a, d: a + s * d, x, direction) for s in (size, -size)]  # noqa: B023
        return (problem.value(ends[0]) - problem.value(ends[1])) / (2 * size)

    exact = jax.jit(jax.grad(problem.value))(x)
    for mine, other in zip(
        jax.tree.leaves(exact), jax.tree.leaves(jax.jit(jax.grad(unrolled))(x)), strict=True
    ):
        np.testing.assert_allclose(mine, other, atol=1e-8)
    rng = np.random.default_rng(5)
    direction = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), x)
    along = sum(jnp.vdot(a, b) for a, b in zip(*map(jax.tree.leaves, (exact, direction)),
                                               strict=True))  # fmt: skip
    np.testing.assert_allclose(along, slope(direction), rtol=1e-6, atol=1e-8)


def test_the_penalty_is_chosen_by_held_out_episodes(mdp, demonstrations):
    model = sb.MaximumLikelihoodIRL(
        mdp, reward=lambda x: x, x0=np.zeros((STATES, ACTIONS)), regularization=[1e-4, 10.0]
    )
    found = model.fit(demonstrations, held_out=0.3)
    assert found.regularization == 1e-4  # the other leaves the reward next to nothing
    assert found.standard_errors is None  # a penalized estimate has none
    with pytest.raises(sb.InvalidInputError, match="held_out"):
        model.fit(demonstrations)


def test_what_no_demonstrations_can_tell_is_taken_off(mdp):
    rng = np.random.default_rng(1)
    reward, potential = rng.normal(size=(STATES, ACTIONS)), rng.normal(size=STATES)
    moved = np.asarray(
        reward + mdp.discount * mdp.transition.expect(jnp.asarray(potential)) - potential[:, None]
    )
    policies = [sb.solve(with_reward(mdp, r)).log_policy for r in (reward, moved)]
    np.testing.assert_allclose(*policies, atol=1e-8)
    np.testing.assert_allclose(shaped(mdp, moved, reward), reward, atol=1e-8)


def test_a_feature_that_is_constant_is_not_identified(mdp, demonstrations):
    features = np.concatenate([FEATURES, np.ones((STATES, ACTIONS, 1))], axis=2)
    found = sb.MaximumLikelihoodIRL(mdp, features).fit(demonstrations)
    assert found.standard_errors is None
    assert "rank 2 of 3" in str(found.identification)
    assert set(found.identification.weakest) == {"x[2]"}


def test_another_world(mdp, likely):
    """What the demonstrators would do elsewhere is near what they would do."""
    other = eqx.tree_at(
        lambda m: m.transition, mdp, sb.Dense(random_rows(np.random.default_rng(9)))
    )
    told = likely.respond(other).policy
    true = sb.solve(with_reward(other, FEATURES @ WEIGHTS)).policy
    assert np.abs(told - true).max() < 0.15


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state": [0, 1, 9]}, r"row 2, column state: .*9"),
        ({"action": [0, 1, 3]}, r"row 2, column action"),
        ({"step": [0, 2, 3]}, "goes from period 0 to 2"),
        ({"episode": [0, 0, None]}, "row 2, column episode: must not be empty"),
        ({"action": None}, "there is no column '?action"),
    ],
)
def test_bad_demonstrations(mdp, change, words):
    columns = {"episode": [0, 0, 0], "step": [0, 1, 2], "state": [0, 1, 2], "action": [0, 1, 2]}
    columns = {name: v for name, v in (columns | change).items() if v is not None}
    with pytest.raises(sb.InvalidInputError, match=words):
        sb.Demonstrations.read(columns, mdp)


def test_demonstrations_that_contradict_the_process():
    """A move that cannot be, and an action that is not allowed."""
    law = sb.SuccessorList(np.array([[[0], [1]], [[1], [0]]]), np.ones((2, 2, 1)))
    mdp = sb.SoftMDP(law, np.zeros((2, 2)), 0.9, 1.0, [1.0, 0.0], [[1.0, 1.0], [1.0, 0.0]])
    steps = {"episode": [0, 0], "step": [0, 1], "state": [0, 1], "action": [0, 0]}
    with pytest.raises(sb.InvalidInputError, match="row 1: state 1 cannot follow state 0"):
        sb.Demonstrations.read(steps, mdp)
    with pytest.raises(sb.InvalidInputError, match="action 1 is not allowed in state 1"):
        sb.Demonstrations.read(steps | {"action": [1, 1]}, mdp)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "features, reward"),
        ({"features": np.zeros((2, 2))}, "features: expected shape"),
        ({"reward": lambda x: x}, "x0"),
        ({"reward": lambda x: x, "x0": np.zeros(3)}, "reward: must give"),
        ({"features": FEATURES, "objective": "other"}, "objective"),
        ({"features": FEATURES, "regularization": -1.0}, "regularization"),
    ],
)
def test_bad_arguments(mdp, arguments, words):
    with pytest.raises(sb.InvalidInputError, match=words):
        sb.MaximumLikelihoodIRL(mdp, **arguments)
