"""The journal of a run directory: a checkpoint, and the metrics beside it for people to watch."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import PyTree

from sobirl.bilevel.checkpoint import Checkpoint
from sobirl.bilevel.loop import RunState
from sobirl.bilevel.recorder import Records
from sobirl.bilevel.result import shifted_history
from sobirl.runs.metrics import Columns, MetricsStream


class Journal(Checkpoint):
    """A checkpoint that also streams its rows, one a step.

    Args:
        path: the checkpoint's file.
        seconds: the least time from one checkpoint to the next.
        streams: where the rows go.
        fingerprint: of what is run.
        time_limit: the seconds of steps after which the run ends.
    """

    def __init__(
        self,
        path: Path,
        seconds: float | int,
        streams: Sequence[MetricsStream],
        fingerprint: str = "",
        time_limit: float = math.inf,
    ):
        super().__init__(path, seconds, fingerprint, time_limit)
        self.streams = streams
        self._streamed: int | None = None  # rows so far; None before the first

    def restore(self, like: PyTree) -> tuple[PyTree, Records, float] | None:
        """As `Checkpoint`; rows that were streamed after it are taken back."""
        self._streamed = None
        saved = super().restore(like)
        if saved is not None:
            self._stream(self.shown(saved[0], saved[1]))
        return saved

    def record(self, state: PyTree, rows: Records, seconds: float) -> None:
        """Stream some rows, and save if the last time was long enough ago."""
        self._stream(self.shown(state, rows))
        super().record(state, rows, seconds)

    def shown(self, state: PyTree, rows: Records) -> Columns:
        """The rows that people see of those recorded."""
        return rows

    def _stream(self, columns: Columns) -> None:
        for stream in self.streams:
            if self._streamed is None:
                stream.begin(columns)
            else:
                stream.append(columns, self._streamed + 1)
        self._streamed = (self._streamed or 0) + len(next(iter(columns.values())))


class BestStartJournal(Journal):
    """A journal of `minimize`: one row a step, of the start that is best.

    With several starts, a row is that of the start which has the lowest objective when the row is
    written; the end of a run replaces them by the rows of the best start. The last row is held
    back, because its objective, that after the step, is not known yet.
    """

    def restore(self, like: RunState) -> tuple[RunState, Records, float] | None:
        """As `Journal`."""
        self._pending: Records | None = None
        return super().restore(like)

    def shown(self, state: RunState, rows: Records) -> Columns:
        """The best start's rows, from the one that was held back."""
        if self._pending is not None:
            rows = {name: np.concatenate([self._pending[name], rows[name]]) for name in rows}
        self._pending = {name: column[-1:] for name, column in rows.items()}
        best = int(np.argmin(state.best_objective))
        return shifted_history(
            {name: column.reshape(len(column), -1)[:, best] for name, column in rows.items()}
        )
