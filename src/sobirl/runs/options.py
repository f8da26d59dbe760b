"""The options that every run has; each experiment adds its own."""

import abc
import dataclasses
import math
from pathlib import Path
from typing import ClassVar

from sobirl.core.errors import InvalidInputError
from sobirl.runs.outcome import Outcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions(abc.ABC):
    """Options of `sobirl run PROBLEM`."""

    problem: ClassVar[str]

    out: Path | None = None
    """Directory of the run, made new. By default runs/PROBLEM-N with the first free N."""
    force: bool = False
    """Replace the run that is already in that directory."""
    seed: int = 0
    """Seed of everything random: the same seed gives the same run."""
    quiet: bool = False
    """Show no progress bar."""

    @property
    def progress(self) -> bool | None:
        """What `minimize` is told: no bar, or one on a terminal."""
        return False if self.quiet else None

    def validate(self) -> None:
        """Raise InvalidInputError for options that no run can have; nothing is computed yet.

        Experiments add their own checks.
        """
        require("--seed", self.seed, 0 <= self.seed < 2**32, "must lie between 0 and 2^32 - 1")

    @abc.abstractmethod
    def run(self) -> Outcome:
        """Compute everything; write nothing."""


def require(name: str, value, holds: bool, requirement: str) -> None:
    """Raise unless an option holds, naming it as it is typed.

    Raises:
        InvalidInputError: with the option, the requirement and the value.
    """
    if not holds:
        raise InvalidInputError(f"{name} {requirement}, got {value}")


def require_positive(name: str, value: float) -> None:
    """Raise unless a number is positive and finite."""
    require(name, value, math.isfinite(value) and value > 0, "must be a positive number")


def require_count(name: str, value: int) -> None:
    """Raise unless a count is at least 1."""
    require(name, value, value >= 1, "must be at least 1")
