"""The options that every run has; each experiment adds its own."""

import abc
import dataclasses
import math
from pathlib import Path
from typing import ClassVar

from sobirl.bilevel.recorder import Recorder
from sobirl.core.errors import InvalidInputError
from sobirl.runs.checkpoint import Checkpoint
from sobirl.runs.journal import Journal
from sobirl.runs.metrics import require_tensorboard
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
    def run(self, recorder: Recorder | None = None) -> Outcome:
        """Compute everything; write nothing but what the recorder keeps of a run of many steps."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepwiseOptions(RunOptions):
    """Options of the runs that take many steps: they are recorded and can be resumed."""

    journal: ClassVar[type[Checkpoint]] = Journal

    tensorboard: bool = False
    """Write the metrics as TensorBoard events too, into the folder tensorboard of the run."""
    checkpoint_seconds: float = 10.0
    """The least time between two checkpoints; 0 makes one after every few steps."""

    def validate(self) -> None:
        """Check the options."""
        super().validate()
        valid = 0 <= self.checkpoint_seconds < math.inf
        require("--checkpoint-seconds", self.checkpoint_seconds, valid, "must not be negative")
        if self.tensorboard:
            require_tensorboard()


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
