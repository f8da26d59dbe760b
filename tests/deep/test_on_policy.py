"""How well a reward predicts a policy's fragments, against sums over all of a table's."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deep.tabular_pairs import PREFERENCES, A, H, S, X, model, optimal_policy, pairs
from sobirl.deep.on_policy import on_policy_fit
from sobirl.deep.reward_learning import RewardLearner
from sobirl.prefs import Oracle

BATCHES, STREAMS, EACH = 200, 32, 2


def exact(temperature):
    """φ, E H(q) and E |p - q| over all pairs of trajectories, weighted by their chance."""
    policy, chances, worths, truths = optimal_policy(), [], [], []
    for states in itertools.product(range(S), repeat=H):
        for actions in itertools.product(range(A), repeat=H):
            chance = policy[states, actions].prod() / S
            for (s, a), after in zip(
                zip(states[:-1], actions[:-1], strict=True), states[1:], strict=True
            ):
                chance *= PREFERENCES.transition[s, a, after]
            chances.append(chance)
            worths.append(X.reshape(S, A)[states, actions].sum())
            truths.append(PREFERENCES.truth[states, actions].sum())
    chance, worth, truth = map(np.array, (chances, worths, truths))
    weight = np.outer(chance, chance)
    p, q = (
        1 / (1 + np.exp(-(r[:, None] - r) / t)) for r, t in ((worth, 1.0), (truth, temperature))
    )
    loss = -q * np.log(p) - (1 - q) * np.log(1 - p)
    entropy = -q * np.log(q) - (1 - q) * np.log(1 - q)
    return {
        "cross_entropy": (weight * loss).sum(),
        "teacher_entropy": (weight * entropy).sum(),
        "calibration": (weight * np.abs(p - q)).sum(),
    }


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_means_are_exact(temperature):
    some, _ = pairs(optimal_policy(), BATCHES, STREAMS)
    assert some.mask.shape == (BATCHES, STREAMS, EACH, H)
    oracle = Oracle(temperature=temperature)
    found = jax.vmap(lambda one: on_policy_fit(RewardLearner(), model(), oracle, one))(some)
    for name, expected in exact(temperature).items():
        values = np.asarray(found[name], np.float64)
        error = values.std(ddof=1) / np.sqrt(BATCHES)
        assert abs(values.mean() - expected) < 3.5 * error, name
        assert error < 0.02 * expected  # by which a wrong teacher would be seen


def test_the_teacher_knows_best():
    some = jax.tree.map(lambda leaf: leaf[0], pairs(optimal_policy(), 1, STREAMS)[0])
    best = on_policy_fit(RewardLearner(), None, Oracle(), some)
    assert best["cross_entropy"] == best["teacher_entropy"] and best["calibration"] == 0
    other = on_policy_fit(RewardLearner(), model(), Oracle(), some)
    assert other["teacher_entropy"] == best["teacher_entropy"] < other["cross_entropy"]


def test_streams_and_what_has_ended():
    """Fragments of one stream do not meet, nor any without steps."""
    some = jax.tree.map(lambda leaf: leaf[0, :2], pairs(optimal_policy(), 1, STREAMS)[0])
    some = some.__class__(**{**vars(some), "mask": some.mask.at[:, 1].set(False)})
    found = on_policy_fit(RewardLearner(), None, Oracle(), some)
    first, second = np.asarray(some.reward[:, 0].sum(axis=-1))
    q = 1 / (1 + np.exp(second - first))
    np.testing.assert_allclose(
        found["cross_entropy"], -q * np.log(q) - (1 - q) * np.log(1 - q), rtol=1e-5
    )


def test_a_tie_is_half():
    oracle = Oracle(temperature=0.0, tie_within=0.5, mistake=0.1)
    returns = jnp.array([[1.0, 0.8], [1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(oracle.probability(returns, returns), [0.5, 0.9, 0.1], rtol=1e-6)
