"""The leaderboard as text: for the terminal, and as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.table import Table

from sobirl.bench.leaderboard import Board, Leaderboard, Line
from sobirl.sweeps.cells import Cell, check
from sobirl.sweeps.folder import SweepFolder


class _Text(NamedTuple):
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    below: str  # a command, or what the numbers are


def planned(cells: Mapping[str, Mapping[str, Sequence[Cell]]], folder: Path) -> Table:
    """What there is to do.

    Raises:
        InvalidInputError: runs that cannot be made.
    """
    table = Table("task", "methods", "runs", "done", title=f"runs in {folder}")
    for name, own in cells.items():
        runs = [cell for of_method in own.values() for cell in of_method]
        check(runs)
        done = sum(SweepFolder(folder).is_done(cell.id) for cell in runs)
        table.add_row(name, ", ".join(own), str(len(runs)), str(done))
    return table


def tables(board: Leaderboard) -> Iterator[Table | str]:
    """What is printed."""
    for text in _texts(board):
        table = Table(title=text.title)
        for number, name in enumerate(text.header):
            table.add_column(name, justify="left" if number == 0 else "right")
        for row in text.rows:
            table.add_row(*row)
        yield table
        yield text.below


def markdown(board: Leaderboard) -> str:
    """The same as a file."""
    parts = []
    for text in _texts(board):
        lines = [text.header, ("---", *["---:"] * (len(text.header) - 1)), *text.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts.append(f"## {text.title}\n\n{table}\n\n{text.below}\n")
    return "\n".join(parts)


def _texts(board: Leaderboard) -> Iterator[_Text]:
    for one in board.boards:
        yield _of_task(one)
    rows = [
        (s.method, f"{s.score:.3f}", f"{s.interval[0]:.3f} to {s.interval[1]:.3f}", str(s.tasks))
        for s in board.scores
    ]
    yield _Text(
        "all tasks",
        ("method", "score", "95 %", "tasks"),
        rows,
        "Interquartile means over runs; a run's score is 0 for nothing learned and 1 for the best "
        "of all methods with its seed.",
    )


def _of_task(board: Board) -> _Text:
    benchmark = board.task.benchmark
    rows = [_row(line) for line in board.lines]
    rows += [
        (f"{p.method} ({p.source})", f"{p.value:g}", "published", "", "", "", "")
        for p in board.published
    ]
    which = "larger" if benchmark.larger_is_better else "smaller"
    best = board.lines[0]
    return _Text(
        f"{board.task.name}: {benchmark.label} ({which} is better)",
        ("method", "value", "95 %", "score", "environment steps", "seconds", "runs"),
        rows,
        f"A run again: `{best.command()}`; so with other methods and seeds.",
    )


def _row(line: Line) -> tuple[str, ...]:
    low, high = line.interval
    steps = float(np.median(line.environment_steps)) if len(line.runs) else np.nan
    return (
        line.method,
        f"{line.value:.4g}",
        f"{low:.4g} to {high:.4g}",
        f"{line.score:.3f}",
        f"{steps:,.0f}" if steps else "the model",
        f"{np.median(line.seconds):.3g}" if len(line.runs) else "",
        f"{len(line.runs)} of {len(line.cells)}",
    )
