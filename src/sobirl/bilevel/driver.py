"""The loop around compiled steps, for every run: progress, Ctrl-C, early stopping, recording."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np

from sobirl.bilevel.interrupts import deferred_interrupt
from sobirl.bilevel.recorder import Recorder, Records
from sobirl.core.errors import InvalidInputError
from sobirl.core.progress import progress_bar

# How long one call of the compiled program should take: Ctrl-C and the bar wait for its end.
_CHUNK_SECONDS = 0.5


@runtime_checkable
class Stepped(Protocol):
    """A state that knows how many steps led to it, of one start or of several side by side."""

    step: Any


State = TypeVar("State", bound=Stepped)


@dataclasses.dataclass
class Drive(Generic[State]):
    """How far a run came.

    Attributes:
        state: after the last step.
        records: the rows of all steps.
        seconds: all time spent on steps, also before an interruption that was taken up again.
        interrupted: whether Ctrl-C ended it.
    """

    state: State
    records: Records
    seconds: float
    interrupted: bool


def drive(
    advance: Callable[[State, int], tuple[State, Records]],
    state: State,
    *,
    columns: Iterable[str] | None,
    num_steps: int,
    chunk_size: int,
    has_converged: Callable[[Records], bool] | None = None,
    recorder: Recorder | None,
    revive: Callable[[State], State] = lambda state: state,
    progress: bool | None,
    label: str = "minimizing",
    describe: Callable[[Records], str],
) -> Drive[State]:
    """Take steps until there are `num_steps`, all starts have converged, time is up, or Ctrl-C.

    Args:
        advance: (state, count) -> the state after `count` steps and their rows; at most
            `chunk_size` of them.
        state: before the first step.
        columns: the names of what a row has, if they are known beforehand.
        num_steps: steps in all, those that the recorder already has included.
        chunk_size: steps after which convergence is looked at; calls take no more.
        has_converged: whether the last row says that there is nothing left to do.
        recorder: is told of every chunk, and has a limit of time if there is one.
        revive: makes a state that steps can be taken from of one read back from a file.
        progress: whether to show a bar; None for on a terminal only.
        label: what the bar says is being done.
        describe: what the bar says of the latest rows.

    Raises:
        InvalidInputError: the recorder has a run with other columns.
        KeyboardInterrupt: Ctrl-C before the first step was done, or, with a recorder, at any
            time; the recorder then has all that was done.
    """
    saved = None if recorder is None else recorder.restore(state)
    chunks, before = [], 0.0
    if saved is not None:
        state, records, before = saved
        if columns is not None and records.keys() != set(columns):
            raise InvalidInputError(
                "recorder: holds another run, whose rows have "
                f"{', '.join(sorted(records.keys() ^ set(columns)))} or have it not"
            )
        state, chunks = revive(state), [records]
    done = resumed_at = int(np.max(state.step))
    clock = time.perf_counter()

    def seconds():
        return before + time.perf_counter() - clock

    limit = getattr(recorder, "time_limit", math.inf)

    def finished():
        # At fixed steps only, so that the speed of the machine has no say in where a run ends, but
        # where a limit of time asks for that.
        looked_at = has_converged is not None and done and done % chunk_size == 0
        if done >= num_steps or (looked_at and has_converged(chunks[-1])):
            return True
        return bool(done) and seconds() >= limit

    count = 1
    with deferred_interrupt() as interrupt, progress_bar(progress, label, num_steps) as show:
        show(done, describe(chunks[-1]) if chunks else "")
        while not interrupt.requested and not finished():
            count = min(count, num_steps - done, chunk_size - done % chunk_size)
            started = time.perf_counter()
            state, rows = advance(state, count)
            a_step = (time.perf_counter() - started) / count
            chunks.append(rows)
            done += count
            if recorder is not None:
                recorder.record(state, rows, seconds())
            show(done, describe(rows))
            left = min(_CHUNK_SECONDS, limit - seconds())
            count = max(1, int(min(left / max(a_step, 1e-9), chunk_size)))
        if recorder is not None and done > resumed_at:
            recorder.save()
        interrupted = not finished()
        if interrupted and (not done or recorder is not None):
            raise KeyboardInterrupt
    return Drive(
        state,
        {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]},
        seconds(),
        interrupted,
    )
