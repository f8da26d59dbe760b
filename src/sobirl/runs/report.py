"""`sobirl report`: runs side by side, as a table, curves and one HTML page."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sobirl.core.errors import InvalidInputError
from sobirl.runs.curves import draw_curves
from sobirl.runs.options import RunOptions
from sobirl.runs.page import TITLE, Section, page
from sobirl.runs.saved import SavedRun
from sobirl.runs.show import facts, shown, state

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

PAGE = "report.html"
_TERMINAL = 2  # runs beside one another in 80 columns


def choose_report(out: Path | None, force: bool) -> Path:
    """Where the report goes.

    Raises:
        InvalidInputError: the folder exists and `--force` is not given, or is no report (which
            `--force` never removes).
    """
    if out is None:
        number = 1
        while (path := Path("runs") / f"report-{number}").exists():
            number += 1
        return path
    if out.exists():
        if not force:
            raise InvalidInputError(f"--out {out} exists; choose another or add --force")
        if not _is_report(out):
            raise InvalidInputError(f"--out {out} is no report of sobirl; --force leaves it alone")
    return out.resolve()


def _is_report(path: Path) -> bool:
    """Whether a folder holds a report and nothing else."""
    names = [entry.name for entry in path.iterdir()] if path.is_dir() else []
    own = all(name == PAGE or (name[:7], name[-4:]) == ("curves-", ".png") for name in names)
    return own and PAGE in names and TITLE in (path / PAGE).read_text(errors="replace")


def write_report(
    runs: list[SavedRun], out: Path, kind_of: Callable[[SavedRun], type[RunOptions]]
) -> "list[RenderableType]":
    """Write the page and its figures as PNG into a new folder, in one step.

    Args:
        runs: what is compared, each problem by itself.
        out: the folder.
        kind_of: finds the options' type of a run, which says what curves and values it has.

    Returns:
        what to print.

    Raises:
        InvalidInputError: a run's metrics are damaged.
    """
    by_problem: dict[str, list[SavedRun]] = {}
    for run in runs:
        by_problem.setdefault(run.problem, []).append(run)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        draft.chmod(0o755)
        tables, sections = [], []
        for problem, group in by_problem.items():
            kind = kind_of(group[0])
            rows = comparison(group, kind.values)
            curves = draft / f"curves-{problem}.png"
            metrics = {_name(run, runs): run.metrics() for run in group}
            draw_curves(problem, kind.curves, metrics).savefig(curves, dpi=150)
            tables += _tables(problem, rows)
            sections.append(Section(problem, rows, curves.read_bytes(), group))
        (draft / PAGE).write_text(page(sections), encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        draft.rename(out)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return tables


def comparison(runs: list[SavedRun], values: Sequence[str] = ()) -> list[dict[str, str]]:
    """One row a run of the same problem: what was asked, and the numbers that it found."""
    rows = [
        {
            "run": str(run.path),
            "options": run.asked,
            "state": state(run),
            **{name: shown(value) for name, value in facts(run, values).items()},
        }
        for run in runs
    ]
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name, "") for name in columns} for row in rows]


def _tables(problem: str, rows: list[dict[str, str]]) -> "list[Table]":
    """A row for every number, a column for every run, as many as fit into a terminal."""
    from rich.table import Table
    from rich.text import Text

    tables = []
    for first in range(0, len(rows), _TERMINAL):
        beside = rows[first : first + _TERMINAL]
        table = Table(title=problem if first == 0 else None, show_lines=False)
        table.add_column("", overflow="fold")
        for row in beside:
            table.add_column(Text(row["run"]), overflow="fold")
        for name in list(rows[0])[1:]:
            table.add_row(Text(name), *(Text(row[name]) for row in beside))
        tables.append(table)
    return tables


def _name(run: SavedRun, runs: list[SavedRun]) -> str:
    """The last part of a run's path, or all of it where another run has the same."""
    names = [other.path.name for other in runs]
    return run.path.name if names.count(run.path.name) == 1 else str(run.path)
