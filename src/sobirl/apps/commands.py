"""What the command line can do, one class a command."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from sobirl import problems
from sobirl.bilevel.interrupts import deferred_interrupt
from sobirl.core.errors import InvalidInputError
from sobirl.core.locks import lock
from sobirl.runs.directory import RunDirectory, clean
from sobirl.runs.options import RunOptions
from sobirl.runs.outcome import Outcome
from sobirl.runs.registry import EXPERIMENTS, options_of
from sobirl.runs.report import choose_report, write_report
from sobirl.runs.saved import SavedRun
from sobirl.runs.show import show

RunPath = Annotated[Path, tyro.conf.Positional]


@dataclasses.dataclass(frozen=True)
class ListProblems:
    """Show the problems and what they are."""

    def __call__(self) -> None:
        """Print the table."""
        table = Table(title="Problems")
        table.add_column("name", style="bold")
        table.add_column("what it is")
        table.add_column("command")
        known = problems.names()
        for name in (*known, *(name for name in EXPERIMENTS if name not in known)):
            described = problems.load(name) if name in known else EXPERIMENTS[name]
            what = described.__doc__.splitlines()[0]
            command = f"sobirl run {name} --help" if name in EXPERIMENTS else "from Python only"
            table.add_row(name, what, command)
        Console().print(table)


@dataclasses.dataclass(frozen=True)
class Run:
    """Carry out a new run."""

    options: RunOptions

    def __call__(self) -> None:
        """Check the options, make the directory, and go."""
        self.options.validate()
        with RunDirectory.create(self.options) as directory:
            _carry_out(directory, is_new=True)


@dataclasses.dataclass(frozen=True)
class Resume:
    """Go on with a run that was stopped or killed, as if it had not been.

    Its last checkpoint and its config.json decide everything.
    """

    run: RunPath
    """The run's directory, for example runs/four-rooms-1."""

    def __call__(self) -> None:
        """Go on, or say that there is nothing left to do."""
        SavedRun.load(self.run)  # says what is wrong with it, if anything is
        with lock(self.run):
            saved = SavedRun.load(self.run)  # as it is now that no other process works on it
            if saved.summary is not None:
                clean(self.run)
                print(f"{self.run} has ended; see it with: sobirl show {self.run}")
                return
            options = options_of(saved)
            options.validate()
            _carry_out(RunDirectory(self.run, options), is_new=False)


@dataclasses.dataclass(frozen=True)
class Show:
    """Show what a run is, how far it came and what it found."""

    run: RunPath
    """The run's directory."""

    def __call__(self) -> None:
        """Print it."""
        for part in show(SavedRun.load(self.run)):
            Console().print(part)


@dataclasses.dataclass(frozen=True)
class Report:
    """Compare runs: a table, curves, and one HTML page that needs no other file."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Directories of runs, complete or not."""
    out: Path | None = None
    """Folder of the report, made new. By default runs/report-N with the first free N."""
    force: bool = False
    """Replace the report that is already there."""

    def __call__(self) -> None:
        """Write the report and print its table."""
        if not self.runs:
            raise InvalidInputError("report: give at least one run directory")
        runs = [SavedRun.load(path) for path in self.runs]
        out = choose_report(self.out, self.force)
        for part in write_report(runs, out):
            Console().print(part)
        print(f"wrote {_shown(out)}: report.html and its figures as PNG")


def _carry_out(directory: RunDirectory, is_new: bool) -> None:
    """Compute, write and print; an early end says how to go on.

    A new directory in which nothing is kept is removed again.

    Raises:
        KeyboardInterrupt: Ctrl-C, with what is left to do as its message.
        InvalidInputError: the disk is full or the like, with the same.
    """
    try:
        outcome = directory.options.run(directory.recorder())
        directory.finish(outcome)
    except BaseException as error:
        with deferred_interrupt():
            kept = not is_new or directory.has_checkpoint or directory.is_complete
            if not kept:
                directory.abandon()
            if not isinstance(error, (KeyboardInterrupt, OSError)):
                raise
            rest = _how_to_go_on(directory) if kept else "nothing was written"
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(f"stopped; {rest}") from None
        where, what = error.filename or directory.path, error.strerror or error
        raise InvalidInputError(f"{where}: {what}; {rest}") from error
    _print_outcome(outcome, _shown(directory.path))


def _print_outcome(outcome: Outcome, path: Path) -> None:
    console = Console()
    for part in outcome.report:
        console.print(part)
    figures = ", ".join(f"figures/{name}.png" for name in outcome.figures)
    console.print(
        f"{outcome.summary['run_seconds']:.1f} s after {outcome.summary['compile_seconds']:.1f} s "
        f"of compilation; wrote {path}: summary.json, metrics.csv, config.json, {figures}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _how_to_go_on(directory: RunDirectory) -> str:
    if directory.is_complete:
        return f"but everything is written: sobirl show {_shown(directory.path)}"
    saved = SavedRun.load(_shown(directory.path))
    total = getattr(directory.options, "num_steps", None)
    of_all = "" if total is None else f" of {total}"
    return f"{saved.steps()}{of_all} steps are kept, go on with: {saved.resume_command}"


def _shown(path: Path) -> Path:
    """The path as people would type it: relative where that is shorter."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_absolute() and path.is_relative_to(here) else path
