"""The progress bar of long work: how far it is, how fast it goes, what the latest row says."""

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar(
    wanted: bool | None, label: str, total: int
) -> Iterator[Callable[[int, str], None]]:
    """A bar on standard error; what it gives is called with the steps done and a few words.

    Args:
        wanted: whether to show it; None for on a terminal only.
        label: what is being done.
        total: steps in all.
    """
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda done, state: None
        return
    # Here, so that importing sobirl loads nothing that only terminals need.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        TaskProgressColumn(show_speed=True),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(label, total=total, state="")
        yield lambda done, state: bar.update(task, completed=done, state=state)
