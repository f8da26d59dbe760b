"""The progress bar of `sobirl run rlhf`: rounds, and the state of both levels."""

import contextlib
import math
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

_SHOWN = (
    ("eval_return", "evaluation", ".4g"),
    ("true_return", "return", ".4g"),
    ("preference_accuracy", "accuracy", ".0%"),
    ("implicit_ratio", "implicit/explicit", ".2g"),
    ("temperature", "τ", ".3g"),
    ("steps_per_second", "steps/s", ",.0f"),
)


@contextlib.contextmanager
def progress_bar(
    wanted: bool | None, total: int
) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """A bar over all rounds; what it gives is called with the rounds done and the last row."""
    bar = Progress(
        TextColumn("round {task.completed}/{task.total}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
        console=Console(stderr=True),
        transient=True,
        disable=not (sys.stderr.isatty() if wanted is None else wanted),
    )
    latest: dict[str, float] = {}
    with bar:
        task = bar.add_task("", total=total, state="")

        def show(done: int, row: dict[str, float]) -> None:
            latest.update({name: value for name, value in row.items() if math.isfinite(value)})
            state = [
                f"{word} {latest[name]:{form}}" for name, word, form in _SHOWN if name in latest
            ]
            bar.update(task, completed=done, state=", ".join(state))

        yield show
