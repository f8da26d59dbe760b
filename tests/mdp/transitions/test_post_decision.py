"""Post-decision states: what is refused; the contract is in `test_contract`."""

import numpy as np
import pytest

import sobirl as sb

ROWS = np.full((4, 3), 1 / 3)


@pytest.mark.parametrize(
    ("chosen", "rows", "message"),
    [
        (np.full((3, 2), 4), ROWS, "chosen.*0..3"),
        (np.zeros((3, 2), int), ROWS[:, :2], r"probabilities: expected shape \(Z, 3\)"),
        (np.zeros((3, 2), int), ROWS / 2, "sum to 1"),
        (np.zeros((3, 2), int), -ROWS, "must not be negative"),
    ],
)
def test_bad_laws_are_refused(chosen, rows, message):
    with pytest.raises(sb.InvalidInputError, match=message):
        sb.PostDecision(chosen, rows)
