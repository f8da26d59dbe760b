"""The journal of a run directory: a checkpoint, and the metrics beside it for people to watch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import PyTree

from sobirl.bilevel.loop import RunState
from sobirl.bilevel.recorder import Records
from sobirl.bilevel.result import shifted_history
from sobirl.runs.checkpoint import Checkpoint
from sobirl.runs.metrics import MetricsStream


class Journal(Checkpoint):
    """A checkpoint that also streams one row of metrics a step.

    With several starts, a row is that of the start which has the lowest objective when the row is
    written; the end of a run replaces them by the rows of the best start.

    Args:
        path: the checkpoint's file.
        seconds: the least time from one checkpoint to the next.
        streams: where the rows go.
        fingerprint: of what is run.
    """

    def __init__(
        self,
        path: Path,
        seconds: float | int,
        streams: Sequence[MetricsStream],
        fingerprint: str = "",
    ):
        super().__init__(path, seconds, fingerprint)
        self.streams = streams
        self._step = 0
        self._pending: Records | None = None  # the last row: its objective is not known yet

    def restore(self, like: RunState) -> tuple[RunState, Records, float] | None:
        """As `Checkpoint`; rows that were streamed after it are taken back."""
        self._step, self._pending = 0, None
        saved = super().restore(like)
        if saved is not None:
            state, records, _ = saved
            self._stream(state, records, begin=True)
        return saved

    def record(self, state: RunState, rows: Records, seconds: float) -> None:
        """Stream some rows, and save if the last time was long enough ago."""
        self._stream(state, rows, begin=self._pending is None)
        super().record(state, rows, seconds)

    def _stream(self, state: RunState, rows: Records, begin: bool) -> None:
        if self._pending is not None:
            rows = {name: np.concatenate([self._pending[name], rows[name]]) for name in rows}
        self._pending = {name: column[-1:] for name, column in rows.items()}
        leader = int(np.argmin(state.best_objective))
        of_leader = {name: c.reshape(len(c), -1)[:, leader] for name, c in rows.items()}
        columns = shifted_history(of_leader)
        first_step, self._step = max(self._step, 1), int(np.max(state.step))
        for stream in self.streams:
            if begin:
                stream.begin(columns)
            else:
                stream.append(columns, first_step)


class RoundJournal(Checkpoint):
    """A checkpoint that also streams its rows as they are, one a round.

    Args:
        path: the checkpoint's file.
        seconds: the least time from one checkpoint to the next.
        streams: where the rows go.
        fingerprint: of what is run.
    """

    def __init__(
        self,
        path: Path,
        seconds: float | int,
        streams: Sequence[MetricsStream],
        fingerprint: str = "",
    ):
        super().__init__(path, seconds, fingerprint)
        self.streams = streams
        self._begun = False

    def restore(self, like: PyTree) -> tuple[PyTree, Records, float] | None:
        """As `Checkpoint`; rows that were streamed after it are taken back."""
        saved = super().restore(like)
        self._begun = saved is not None
        if saved is not None:
            for stream in self.streams:
                stream.begin(saved[1])
        return saved

    def record(self, state: PyTree, rows: Records, seconds: float) -> None:
        """Stream some rows, and save if the last time was long enough ago."""
        count = len(next(iter(rows.values())))
        for stream in self.streams:
            if self._begun:
                stream.append(rows, int(np.max(state.step)) - count + 1)
            else:
                stream.begin(rows)
        self._begun = True
        super().record(state, rows, seconds)
