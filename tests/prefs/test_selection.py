import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experience.streams import assert_frequency
from sobirl.core import InvalidInputError
from sobirl.prefs import (
    SELECTIONS,
    decisiveness,
    disagreement,
    entropy,
    information,
    select_pairs,
)

#                            sure   unsure  torn  mild
PROBABILITIES = jnp.array([[0.99, 0.50, 0.05, 0.70], [0.98, 0.50, 0.99, 0.60]], jnp.float32)


def test_scores():
    some = np.asarray(PROBABILITIES, float)
    np.testing.assert_allclose(disagreement(jnp.asarray(some)), np.var(some, axis=0))
    mean = np.mean(some, axis=0)
    expected = -mean * np.log(mean) - (1 - mean) * np.log(1 - mean)
    np.testing.assert_allclose(entropy(jnp.asarray(some)), expected)
    np.testing.assert_array_equal(entropy(jnp.array([[0.0, 1.0]])), 0)
    each = -some * np.log(some) - (1 - some) * np.log(1 - some)
    np.testing.assert_allclose(information(jnp.asarray(some)), expected - each.mean(0), atol=1e-7)
    sure = 4 * (np.var(some, axis=0) + (mean - 0.5) ** 2)
    np.testing.assert_allclose(decisiveness(jnp.asarray(some)), sure, rtol=1e-6)


def test_pairs_that_decide_are_preferred():
    """The uncertain ones are mostly ties; who asks about entropy is asking about ties."""
    rng = np.random.default_rng(0)
    decides = rng.random(200) < 0.3
    z = np.where(decides, rng.choice([-3, 3], 200), 0) + rng.normal(size=(3, 200))
    probabilities = jnp.asarray(1 / (1 + np.exp(-z)), jnp.float32)
    share = {
        rule: decides[np.asarray(select_pairs(rule, probabilities, 40, jax.random.key(0)))].mean()
        for rule in SELECTIONS
    }
    assert share["decisiveness"] > 0.95 and share["entropy"] == 0
    assert share["uniform"] < 0.5


@pytest.mark.parametrize(
    ("rule", "best"),
    [
        ("disagreement", [2, 3, 0]),
        ("entropy", [1, 2, 3]),
        ("information", [2, 3, 0]),
        ("decisiveness", [0, 2, 3]),
    ],
)
def test_the_best_come_first(rule, best, precision):
    choose = jax.jit(lambda p, key: select_pairs(rule, p, 3, key))
    for seed in range(3):
        assert choose(PROBABILITIES, jax.random.key(seed)).tolist() == best


@pytest.mark.parametrize("rule", SELECTIONS)
def test_pairs_with_equal_scores_are_chosen_by_chance(rule):
    """One network disagrees with nobody: without chance, it would ask about the first pairs."""
    keys = jax.random.split(jax.random.key(0), 2000)
    same = jnp.full((1, 5), 0.5)
    chosen = np.asarray(jax.vmap(lambda key: select_pairs(rule, same, 2, key))(keys))
    assert (chosen[:, 0] != chosen[:, 1]).all()
    for pair in range(5):
        assert_frequency((chosen == pair).any(axis=1), 2 / 5)


def test_the_same_key_gives_the_same_pairs():
    pool = jnp.full((1, 100), 0.5)
    first, again, other = (
        select_pairs("uniform", pool, 10, jax.random.key(seed)).tolist() for seed in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("rule", "probabilities", "num", "message"),
    [
        ("best", PROBABILITIES, 2, "there is no 'best'; choose from uniform, disagreement, entrop"),
        ("uniform", PROBABILITIES, 5, "num: must be between 1 and the 4 pairs, got 5"),
        ("uniform", PROBABILITIES, 0, "num: must be between 1 and the 4 pairs, got 0"),
        (
            "uniform",
            PROBABILITIES.at[1, 2].set(jnp.nan),
            2,
            r"probabilities: must be between 0 and 1, got nan at index \[1, 2\]",
        ),
    ],
)
def test_bad_input(rule, probabilities, num, message):
    with pytest.raises(InvalidInputError, match=message):
        select_pairs(rule, probabilities, num, jax.random.key(0))
