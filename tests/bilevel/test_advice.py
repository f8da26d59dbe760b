"""What a run that did not converge is told."""

import numpy as np
import pytest

from sobirl import Status
from sobirl.bilevel.advice import advice_on

STEPS = np.arange(200)
NOISE = np.random.default_rng(0).uniform(0.5, 1.5, size=200)


@pytest.mark.parametrize(
    ("norms", "expected"),
    [
        (0.97**STEPS, "still falling: take more steps"),
        (1e-2 + 0.9**STEPS, "begin with a larger step size"),
        (NOISE, "let the step size decay to 0"),
        (np.array([1.0]), "take more steps"),
    ],
)
def test_advice_by_how_the_norms_went(norms, expected):
    advice = advice_on(Status.CONVERGED, norms, 1e-6)
    assert advice.startswith(f"Not converged: the gradient's norm, {norms[-1]:.1e}, is above")
    assert expected in advice


def test_nothing_to_say():
    assert advice_on(Status.CONVERGED, 0.9**STEPS, 1e-6) == ""


def test_a_bad_status_comes_first():
    norms = np.array([1.0, np.nan])
    assert advice_on(Status.NOT_FINITE, norms, 1e-6) == Status.NOT_FINITE.advice
    assert advice_on(Status.STEP_LIMIT, 0.97**STEPS, 1e-6).startswith(Status.STEP_LIMIT.advice)
