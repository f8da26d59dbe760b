"""What the command line can do, one function a command."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sobirl.apps.cache import keep_compiled_programs
from sobirl.core.errors import InvalidInputError

if TYPE_CHECKING:
    from sobirl.runs.engine import Finished
    from sobirl.runs.options import RunOptions


def list_all() -> None:
    """Show the problems and the methods, and what they are."""
    from rich.console import Console
    from rich.table import Table

    from sobirl.experiments.registry import EXPERIMENTS
    from sobirl.hypergrad.methods import METHODS

    problems = Table("name", "what it is", title="Problems: sobirl run NAME --help")
    for name, kind in EXPERIMENTS.items():
        problems.add_row(f"[bold]{name}[/bold]", (kind.__doc__ or "").splitlines()[0])
    methods = Table("name", "what it is", title="Methods: --method NAME, where a problem has it")
    for name, entry in METHODS.items():
        methods.add_row(f"[bold]{name}[/bold]", entry.what)
    console = Console()
    console.print(problems, methods)


def run(options: "RunOptions", *, started: float, cache: bool = True) -> None:
    """Carry out a new run.

    Args:
        options: what is run.
        started: when the program began, for the time that is printed.
        cache: whether compiled programs are kept.
    """
    keep_compiled_programs(cache)
    from sobirl.runs import engine
    from sobirl.runs.clock import Clock

    _print(engine.carry_out(options, Clock(started)))


def resume(run: Path, *, started: float, cache: bool = True) -> None:
    """Go on with a run that was stopped or killed, as if it had not been."""
    from sobirl.experiments.registry import kind_of
    from sobirl.runs.configuration import options_of
    from sobirl.runs.saved import SavedRun

    saved = SavedRun.load(run)
    if saved.is_recorded and saved.summary is None:
        _run_again(saved)
        return
    keep_compiled_programs(cache)
    from sobirl.runs import engine
    from sobirl.runs.clock import Clock

    finished = engine.resume(run, lambda saved: options_of(saved, kind_of(saved)), Clock(started))
    if finished is None:
        print(f"{run} has ended; see it with: sobirl show {run}")
    else:
        _print(finished)


def show(run: Path) -> None:
    """Show what a run is, how far it came and what it found."""
    from rich.console import Console

    from sobirl.runs.saved import SavedRun
    from sobirl.runs.show import show

    for part in show(SavedRun.load(run)):
        Console().print(part)


def report(runs: tuple[Path, ...], out: Path | None, force: bool) -> None:
    """Compare runs: a table, curves, and one HTML page that needs no other file."""
    from rich.console import Console

    from sobirl.experiments.registry import kind_of
    from sobirl.runs.engine import shown
    from sobirl.runs.report import choose_report, write_report
    from sobirl.runs.saved import SavedRun

    if not runs:
        raise InvalidInputError("report: give at least one run directory")
    saved = [SavedRun.load(path) for path in runs]
    out = choose_report(out, force)
    for part in write_report(saved, out, kind_of):
        Console().print(part)
    print(f"wrote {shown(out)}: report.html and its figures as PNG")


def _run_again(saved) -> None:
    """Run the script that recorded a run; its call of `sobirl.record` goes on."""
    script = saved.script
    if script is None:
        raise InvalidInputError(
            f"{saved.path}: was recorded in an interactive session; make the same call of "
            "sobirl.record again"
        )
    if not Path(script["folder"], script["path"]).is_file():
        raise InvalidInputError(f"{script['path']}: is gone; the run cannot go on without it")
    print(f"running {saved.command} in {script['folder']}", flush=True)
    words = [sys.executable, script["path"], *script["arguments"]]
    code = subprocess.run(words, cwd=script["folder"], check=False).returncode
    if code:
        sys.exit(code)


def _print(finished: "Finished") -> None:
    from rich.console import Console

    console, outcome = Console(), finished.outcome
    for part in outcome.report:
        console.print(part)
    figures = ", ".join(f"figures/{name}.png" for name in outcome.figures)
    console.print(
        f"{finished.seconds}; wrote {finished.path}: summary.json, metrics.csv, config.json, "
        f"{figures}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
