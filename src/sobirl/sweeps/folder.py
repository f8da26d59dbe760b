"""The folder of a sweep: a run directory for every cell, and what else is known of it.

    cells/ID       the cell's run directory
    claims/ID      locked by the process that works on the cell, which writes its name into it
    errors/ID.txt  the error that ended the last attempt: its message, and the traceback
    logs           what worker processes print
    sweep.csv      the table, and sweep.parquet

A cell is done when its run is: nothing else is kept of that.
"""

import contextlib
import dataclasses
import json
import os
import platform
import traceback
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

from sobirl.core.locks import is_locked, lock
from sobirl.runs.files import write_file
from sobirl.runs.saved import SUMMARY

State = Literal["done", "failed", "begun", "left"]

# How long a worker waits for one that works on its cell: what a killed sweep left ends sooner.
_PATIENCE = 60.0


@dataclasses.dataclass(frozen=True)
class SweepFolder:
    """Where a sweep is kept, for all who work on it.

    Attributes:
        path: the folder; of workers on several machines, one that they share.
    """

    path: Path

    def make(self) -> None:
        """Make it and what is in it, where it is not there yet."""
        for name in ("cells", "claims", "errors", "logs"):
            (self.path / name).mkdir(parents=True, exist_ok=True)

    def run(self, cell: str) -> Path:
        """The run directory of a cell."""
        return self.path / "cells" / cell

    def is_done(self, cell: str) -> bool:
        """Whether its run is complete."""
        return (self.run(cell) / SUMMARY).exists()

    def state(self, cell: str) -> State:
        """How far a cell is; one that is being worked on is `begun`."""
        if self.is_done(cell):
            return "done"
        if self._error(cell).exists():
            return "failed"
        return "begun" if self.run(cell).exists() else "left"

    @contextlib.contextmanager
    def claimed(self, cell: str) -> Iterator[None]:
        """Hold a cell: no other process works on it. The lock of a dead process falls away.

        Raises:
            InvalidInputError: another process works on it, and goes on doing so.
        """
        claim = self.path / "claims" / cell
        claim.touch()
        with lock(claim, patience=_PATIENCE):
            owner = {"pid": os.getpid(), "host": platform.node()}
            claim.write_text(json.dumps(owner) + "\n")
            try:
                yield
            finally:
                claim.write_text("")

    def forget_dead(self, cells: Collection[str]) -> None:
        """Take back what killed processes wrote into the claims of these cells."""
        for cell in cells:
            claim = self.path / "claims" / cell
            if claim.exists() and claim.stat().st_size > 0 and not is_locked(claim):
                claim.write_text("")

    def running(self, cells: Collection[str]) -> list[str]:
        """Those of these cells that a process works on, or was killed at."""
        with os.scandir(self.path / "claims") as entries:
            return [e.name for e in entries if e.name in cells and e.stat().st_size > 0]

    def write_error(self, cell: str, error: BaseException) -> str:
        """Keep what ended an attempt.

        Returns:
            it in one line.
        """
        line = " ".join(str(error).split()) or type(error).__name__
        details = getattr(error, "details", None) or "".join(traceback.format_exception(error))
        write_file(self._error(cell), f"{line}\n\n{details}")
        return line

    def forget_error(self, cell: str) -> None:
        """A new attempt may succeed."""
        self._error(cell).unlink(missing_ok=True)

    def error(self, cell: str) -> str:
        """The line of `write_error`; empty if there is none."""
        path = self._error(cell)
        return path.read_text(encoding="utf-8").partition("\n")[0] if path.exists() else ""

    def _error(self, cell: str) -> Path:
        return self.path / "errors" / f"{cell}.txt"
