"""Where the time of a run goes: compilation, running, and the rest add up to the wall time."""

import dataclasses
import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager


@dataclasses.dataclass(frozen=True)
class Seconds:
    """Wall time, in seconds, of this process; an earlier part of a resumed run is not in it.

    Attributes:
        compile: tracing and compiling.
        run: computing, without that.
        other: starting, loading packages, reading, drawing and writing.
    """

    compile: float
    run: float
    other: float

    @property
    def wall(self) -> float:
        """All of it."""
        return self.compile + self.run + self.other

    def __str__(self) -> str:
        return (
            f"{self.wall:.1f} s: {self.compile:.1f} s compiling, {self.run:.1f} s running, "
            f"{self.other:.1f} s for the rest"
        )


class Clock:
    """Measures a run: compilation is what JAX reports of it, from the first `computing` on.

    Args:
        started: when it began, as `time.perf_counter` has it; by default now.
    """

    def __init__(self, started: float | None = None):
        self.started = time.perf_counter() if started is None else started
        self._running = 0.0
        self._spans: list[tuple[float, float]] = []

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Within it, time is either compilation or running."""
        spans = _listen()
        spans.clear()
        self._spans = spans
        began = time.perf_counter()
        try:
            yield
        finally:
            self._running += time.perf_counter() - began - _covered(spans)

    def seconds(self) -> Seconds:
        """What was measured so far."""
        wall, compiling = time.perf_counter() - self.started, _covered(self._spans)
        return Seconds(compiling, self._running, wall - compiling - self._running)


class Share(Clock):
    """The share that one of several runs has in what a clock has measured until now."""

    def __init__(self, clock: Clock, runs: int):
        all_of_it = clock.seconds()
        parts = (all_of_it.compile, all_of_it.run, all_of_it.other)
        self._seconds = Seconds(*(part / runs for part in parts))

    def seconds(self) -> Seconds:
        """What was measured."""
        return self._seconds


@functools.cache
def _listen() -> list[tuple[float, float]]:
    """Have JAX report compilations, from now on: listeners cannot be taken back everywhere.

    Returns:
        a list that will have when each began and ended.
    """
    import jax

    spans: list[tuple[float, float]] = []

    def on_duration(event: str, duration_secs: float, **more: str | int) -> None:
        if event.startswith("/jax/core/compile/"):
            now = time.perf_counter()
            spans.append((now - duration_secs, now))

    jax.monitoring.register_event_duration_secs_listener(on_duration)
    return spans


def _covered(spans: list[tuple[float, float]]) -> float:
    """The length of the union: programs are traced while others are."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total
