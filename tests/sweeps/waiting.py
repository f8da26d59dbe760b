"""A stranger's experiment that writes down when it begins and ends, and waits to be let go."""

import dataclasses
import os
import time
from pathlib import Path

from sobirl.experiments.registry import EXPERIMENTS
from sobirl.runs.options import RunOptions
from sobirl.runs.outcome import Outcome, summarize


@dataclasses.dataclass(frozen=True, kw_only=True)
class Waiting(RunOptions):
    """Wait for a file."""

    problem = "waiting"

    diary: Path
    """The folder of the files."""
    trouble: str = ""
    """What goes wrong: an error, or the end of the process."""

    def run(self, recorder=None):
        """Wait for the file `go` or `go-SEED`."""
        self.note("begin")
        end = time.monotonic() + 100
        while not (self.diary / "go").exists() and not (self.diary / f"go-{self.seed}").exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        if self.trouble == "error":
            raise RuntimeError(f"seed {self.seed}\nhas bad luck")
        if self.trouble == "death":
            os._exit(3)
        self.note("end")
        numbers = {"hypergradient_norm": 0.0, "steps": 0, "starts": 1, "converged": True}
        summary = summarize(
            problem="waiting",
            method="none",
            objective=float(self.seed),
            metrics={"twice": 2 * self.seed, "more": {"thrice": 3 * self.seed}, "list": [1]},
            **numbers,
        )
        return Outcome(summary, {}, [], {})

    def note(self, what):
        with (self.diary / "diary").open("a") as file:
            file.write(f"{what} {self.seed} {os.getpid()}\n")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Together(Waiting):
    """Wait side by side."""

    problem = "together"
    batched = ("seed", "trouble")

    @classmethod
    def run_batch(cls, runs, recorders):
        """One after the other, in truth."""
        runs[0].note("batch")
        if any(run.trouble == "interrupt" for run in runs):
            raise KeyboardInterrupt
        return [run.run() for run in runs]


EXPERIMENTS["waiting"] = Waiting
EXPERIMENTS["together"] = Together
