"""Conformance suites for what others add to sobirl: they run on yours as they run on ours."""

from sobirl.testing.bits import same_bits
from sobirl.testing.conformance import ConformanceError
from sobirl.testing.linear_solvers import check_linear_solver
from sobirl.testing.methods import check_method
from sobirl.testing.operators import check_operator

__all__ = [
    "ConformanceError",
    "check_linear_solver",
    "check_method",
    "check_operator",
    "same_bits",
]
