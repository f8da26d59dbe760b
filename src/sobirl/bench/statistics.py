"""Interquartile means and their bootstrap intervals (Agarwal et al. 2021).

As in rliable, whose newest version (1.2.0) asks for an `arch` that fails beside pandas 3.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats

_RESAMPLES, _SEED = 5000, 0


def interquartile_mean(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """The mean of the middle half."""
    return np.asarray(stats.trim_mean(values, 0.25, axis=axis))


def interval(strata: Sequence[np.ndarray], level: float = 0.95) -> tuple[float, float]:
    """A bootstrap interval of the interquartile mean of all values together.

    Args:
        strata: values (runs,) of every task; runs are drawn anew within each.
        level: the share of resampled means within the interval.
    """
    rng = np.random.default_rng(_SEED)
    drawn = [values[rng.integers(len(values), size=(_RESAMPLES, len(values)))] for values in strata]
    means = interquartile_mean(np.concatenate(drawn, axis=1), axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def band(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The interquartile mean of curves (runs, steps), and where 95 % of resampled ones lie."""
    rng = np.random.default_rng(_SEED)
    drawn = rng.integers(len(curves), size=(_RESAMPLES // 10, len(curves)))
    means = interquartile_mean(curves[drawn], axis=1)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return interquartile_mean(curves, axis=0), low, high
