"""What the scores of samples count: baselines, weights, and the scale 1/τ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobirl.core import InvalidInputError
from sobirl.hypergrad.score import check_horizon, score_weights

LOSSES = np.array([0.5, -1.0, 2.0, 0.25])
WEIGHT = np.array([1.0, 0.0, 2.0, 0.5])


@pytest.mark.parametrize("weight", [np.full(4, 0.25), WEIGHT], ids=["equal", "unequal"])
def test_the_baseline_is_the_mean_of_the_others(weight):
    found = score_weights(jnp.array(LOSSES), jnp.array(weight), 0.5, baseline=True)
    for i, number in enumerate(found):
        others = np.arange(4) != i
        base = np.average(LOSSES[others], weights=weight[others])
        expected = weight[i] / weight.sum() * (LOSSES[i] - base) / 0.5
        assert number == pytest.approx(expected, rel=1e-12)


def test_without_a_baseline():
    found = score_weights(jnp.array(LOSSES), jnp.array(WEIGHT), 0.5, baseline=False)
    np.testing.assert_allclose(found, 2 * WEIGHT * LOSSES / 3.5, rtol=1e-12)


@pytest.mark.parametrize("baseline", [True, False])
def test_nothing_that_counts(baseline):
    found = score_weights(jnp.array(LOSSES), jnp.zeros(4), 0.5, baseline)
    np.testing.assert_array_equal(found, 0)


def test_no_gradient_flows():
    def total(losses, temperature):
        return score_weights(losses, jnp.array(WEIGHT), temperature, True).sum()

    by_losses, by_temperature = jax.grad(total, (0, 1))(jnp.array(LOSSES), 0.5)
    assert not np.any(by_losses) and by_temperature == 0


@pytest.mark.parametrize("horizon", [0, 3, "full"])
def test_horizons(horizon):
    check_horizon(horizon)


@pytest.mark.parametrize("horizon", [-1, 1.5, "long", None])
def test_what_is_no_horizon(horizon):
    with pytest.raises((InvalidInputError, TypeError), match="horizon"):
        check_horizon(horizon)
