"""What experiments have in common whose followers learn: rounds, and a stage for clips."""

import contextlib
import math
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from sobirl.bilevel import Recorder
from sobirl.bilevel.driver import Drive, Stepped, drive
from sobirl.core.errors import InvalidInputError
from sobirl.deep.compiled_loop import CompiledLoop
from sobirl.deep.envs import default_backend, make
from sobirl.deep.envs.pictures import Stage

State = TypeVar("State", bound=Stepped)


@runtime_checkable
class Rounds(Protocol[State]):
    """One round after another; a row of metrics for each."""

    @property
    def total(self) -> int:
        """How many there are."""

    def begin(self) -> State:
        """The state before the first."""

    def round(self, state: State) -> tuple[State, dict[str, float]]:
        """The state after one more, and its row."""

    def restore(self, state: State) -> State:
        """A state to go on from, of one that was read from a file."""


def drive_rounds(
    rounds: Rounds[State],
    shown: Mapping[str, tuple[str, str]],
    recorder: Recorder | None,
    progress: bool | None,
) -> Drive[State]:
    """All rounds.

    Args:
        rounds: what is done.
        shown: column -> what the line of progress calls it, and its format; a column that is NaN
            keeps its last number there.
        recorder: keeps the rounds.
        progress: see `drive`.

    Raises:
        KeyboardInterrupt: Ctrl-C; what was done is kept by the recorder.
    """
    latest: dict[str, float] = {}

    def describe(rows: dict[str, np.ndarray]) -> str:
        last = {name: float(column[-1]) for name, column in rows.items()}
        latest.update({name: value for name, value in last.items() if math.isfinite(value)})
        return ", ".join(
            f"{word} {latest[name]:{form}}"
            for name, (word, form) in shown.items()
            if name in latest
        )

    def advance(state: State, count: int) -> tuple[State, dict[str, np.ndarray]]:
        state, row = rounds.round(state)
        return state, {name: np.array([value]) for name, value in row.items()}

    return drive(
        advance,
        rounds.begin(),
        columns=None,
        num_steps=rounds.total,
        chunk_size=1,
        recorder=recorder,
        revive=rounds.restore,
        progress=progress,
        label="rounds",
        describe=describe,
    )


def stage_of(env: str, backend: str | None, loop: Any, **options: Any):
    """One environment that can be drawn: the loop's own, or one more of the kind.

    Raises:
        InvalidInputError: it cannot be drawn here.
    """
    if isinstance(loop, CompiledLoop):
        return contextlib.nullcontext(Stage(loop.evaluation))
    try:
        return make(env, 1, backend or default_backend(env), render_mode="rgb_array", **options)
    except InvalidInputError as error:
        raise InvalidInputError(f"{env}: cannot be drawn: {error}") from error
