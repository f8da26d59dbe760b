"""Conformance suites for what others add to sobirl: they run on yours as they run on ours."""

from sobirl.testing.bits import same_bits
from sobirl.testing.methods import ConformanceError, check_method

__all__ = ["ConformanceError", "check_method", "same_bits"]
