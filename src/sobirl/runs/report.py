"""`sobirl report`: runs side by side, as a table, curves and one HTML page."""

import shutil
import tempfile
from pathlib import Path

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sobirl.core.errors import InvalidInputError
from sobirl.runs.figures import report as figures
from sobirl.runs.figures import rlhf
from sobirl.runs.page import TITLE, page
from sobirl.runs.saved import SavedRun
from sobirl.runs.show import facts, shown, state

PAGE = "report.html"


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


def write_report(runs: list[SavedRun], out: Path) -> list[RenderableType]:
    """Write the page and its figures as PNG into a new folder, in one step.

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
            rows = comparison(group)
            curves = draft / f"curves-{problem}.png"
            metrics = {_name(run, runs): run.metrics() for run in group}
            learned = any("eval_return" in columns for columns in metrics.values())
            draw = rlhf.comparison if learned else figures.curves
            draw(problem, metrics).savefig(curves, dpi=150)
            tables.append(_table(problem, rows))
            sections.append((problem, rows, curves.read_bytes(), group))
        (draft / PAGE).write_text(page(sections), encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        draft.rename(out)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return tables


def comparison(runs: list[SavedRun]) -> list[dict[str, str]]:
    """One row a run of the same problem: what was asked, and the numbers that it found."""
    rows = []
    for run in runs:
        numbers = {
            name: shown(value)
            for name, value in facts(run).items()
            if isinstance(value, (int, float, str))
        }
        asked = run.command.removeprefix(f"sobirl run {run.problem}").strip()
        rows.append({"run": str(run.path), "options": asked, "state": state(run), **numbers})
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name, "") for name in columns} for row in rows]


def _table(problem: str, rows: list[dict[str, str]]) -> Table:
    """A row for every number, a column for every run: runs are few, their numbers many."""
    table = Table(title=problem)
    table.add_column("")
    for row in rows:
        table.add_column(Text(row["run"]), overflow="fold")
    for name in list(rows[0])[1:]:
        table.add_row(Text(name), *(Text(row[name]) for row in rows))
    return table


def _name(run: SavedRun, runs: list[SavedRun]) -> str:
    """The last part of a run's path, or all of it where another run has the same."""
    names = [other.path.name for other in runs]
    return run.path.name if names.count(run.path.name) == 1 else str(run.path)
