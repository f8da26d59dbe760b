"""The progress of a sweep: a table on a terminal, now and then a line elsewhere."""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sobirl.sweeps.cells import Cell

if TYPE_CHECKING:
    from rich.table import Table

_LINE_SECONDS = 10.0


class Progress:
    """Counts of cells, by command.

    Args:
        cells: those of the sweep.
        done: the ids of those that were done before.
    """

    def __init__(self, cells: Sequence[Cell], done: Sequence[str]):
        self._command = {cell.id: cell.command for cell in cells}
        self.total = Counter(self._command.values())
        self.done = Counter(self._command[cell] for cell in done)
        self.failed: Counter[str] = Counter()
        self.running: Counter[str] = Counter()
        self._started, self._ended = time.monotonic(), 0

    def end(self, cell: str, failed: bool) -> None:
        """Count a cell that has ended."""
        (self.failed if failed else self.done)[self._command[cell]] += 1
        self._ended += 1

    def run(self, cells: Sequence[str]) -> None:
        """These cells are being worked on."""
        self.running = Counter(self._command[cell] for cell in cells)

    @property
    def pace(self) -> str:
        """How fast it goes and how long it will take, in words."""
        seconds = time.monotonic() - self._started
        left = self.total.total() - self.done.total() - self.failed.total()
        if not self._ended or not left:
            return f"{_duration(seconds)} so far"
        rate = self._ended / seconds
        return f"{60 * rate:.3g} cells a minute, {_duration(left / rate)} left"

    def line(self) -> str:
        """All of it in one line."""
        failed = f", {self.failed.total()} failed" if self.failed else ""
        running = f", {self.running.total()} running" if self.running else ""
        return f"{self.done.total()} of {self.total.total()} done{failed}{running}; {self.pace}"

    def table(self) -> "Table":
        """A row a command, and one for all."""
        from rich.table import Table

        table = Table("command", *_COUNTS, caption=self.pace, caption_justify="left")
        for column in table.columns[1:]:
            column.justify = "right"
        several = len(self.total) > 1
        for number, command in enumerate(self.total, 1):
            end = several and number == len(self.total)
            table.add_row(command, *self._counts(command), end_section=end)
        if several:
            table.add_row("all", *self._counts(None))
        return table

    def _counts(self, command: str | None) -> list[str]:
        counters = (self.done, self.running, self.failed, self.total)
        done, running, failed, total = (
            counter.total() if command is None else counter[command] for counter in counters
        )
        return [str(n) for n in (done, running, failed, max(total - done - running - failed, 0))]


_COUNTS = ("done", "running", "failed", "left")


@contextlib.contextmanager
def shown(progress: Progress, wanted: bool | None) -> Iterator[None]:
    """Show it on standard error while something goes on.

    Args:
        progress: what is shown.
        wanted: False for nothing; True or None for a table on a terminal and lines elsewhere.
    """
    if wanted is False:
        yield
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    if not console.is_terminal:
        lines = _Lines(progress)
        with lines:
            yield
        return
    with Live(get_renderable=progress.table, console=console, refresh_per_second=4):
        yield


class _Lines(contextlib.AbstractContextManager):
    """A line every ten seconds, from a thread."""

    def __init__(self, progress: Progress):
        import threading

        self._progress, self._over = progress, threading.Event()
        self._thread = threading.Thread(target=self._say, daemon=True)
        self._thread.start()

    def __exit__(self, *error) -> None:
        self._over.set()
        self._thread.join()
        print(self._progress.line(), file=sys.stderr, flush=True)

    def _say(self) -> None:
        while not self._over.wait(_LINE_SECONDS):
            print(self._progress.line(), file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
