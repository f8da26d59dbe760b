import jax
import jax.numpy as jnp
import numpy as np

from sobirl.prefs import calibration_error


def test_right_probabilities_are_calibrated_and_sure_ones_are_not():
    rng = np.random.default_rng(0)
    probability = rng.random(20_000)
    label = (rng.random(20_000) < probability).astype(float)
    ones = np.ones(20_000)
    error = jax.jit(calibration_error)
    # Ten bins of 2,000 pairs with a standard deviation below 1/2 each.
    assert error(probability, label, ones) < 4 * 0.5 / np.sqrt(2000)
    sure = (probability > 0.5).astype(float)
    np.testing.assert_allclose(error(sure, label, ones), 0.25, atol=0.02)
    np.testing.assert_allclose(error(sure, label, ones), error(1 - sure, 1 - label, ones))


def test_bins_and_weights_by_hand():
    probability = jnp.array([0.05, 0.08, 0.95, 1.0, 0.5])
    label = jnp.array([0.0, 1.0, 1.0, 0.5, 0.0])
    weight = jnp.array([1.0, 1.0, 1.0, 1.0, 0.0])
    expected = (abs(-0.05 + 0.92) + abs(0.05 - 0.5)) / 4
    np.testing.assert_allclose(calibration_error(probability, label, weight), expected, rtol=1e-5)
    assert calibration_error(probability, label, jnp.zeros(5)) == 0
