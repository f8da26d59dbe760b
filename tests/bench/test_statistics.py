"""Interquartile means and intervals, by hand and by rliable's figures."""

import numpy as np
import pytest

from sobirl.bench.statistics import band, interquartile_mean, interval


def test_the_middle_half():
    assert interquartile_mean(np.array([-100, 1, 2, 3, 4, 5, 6, 100.0])) == 3.5
    np.testing.assert_array_equal(
        interquartile_mean(np.array([[0, 2], [1, 9]]), axis=0), [0.5, 5.5]
    )


def test_intervals_of_rliable():
    """By rliable 1.2.0 with 20,000 resamples: 0.43769 to 0.66694."""
    scores = np.random.default_rng(0).random((5, 7))
    assert interquartile_mean(scores) == pytest.approx(0.56616369)
    low, high = interval(list(scores.T))
    assert low == pytest.approx(0.43769, abs=0.006) and high == pytest.approx(0.66694, abs=0.006)


def test_an_interval_covers():
    """Of 200 means of 20 normal numbers, at least 85 % of 95 % intervals hold the center."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        low, high = interval([rng.normal(size=20)])
        covered += low <= 0 <= high
    assert 170 <= covered <= 200


def test_bands_are_around_the_mean():
    curves = np.random.default_rng(2).normal(size=(6, 30))
    mean, low, high = band(curves)
    np.testing.assert_allclose(mean, interquartile_mean(curves, axis=0))
    assert (low <= mean).all() and (mean <= high).all() and (low < high).all()
    for edge in band(curves[:1]):
        np.testing.assert_array_equal(edge, curves[0])
