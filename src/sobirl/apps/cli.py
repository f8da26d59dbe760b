"""The command line: `sobirl list` and `sobirl run PROBLEM`."""

import contextlib
import io
import itertools
import re
import sys
from pathlib import Path

import equinox as eqx
import jax
import tyro
from rich.console import Console
from rich.table import Table

from sobirl import problems
from sobirl.core.errors import InvalidInputError, SobirlError
from sobirl.core.status import Status
from sobirl.runs.directory import choose_directory, write_run
from sobirl.runs.options import RunOptions
from sobirl.runs.registry import EXPERIMENTS

_DESCRIPTION = """Bilevel reinforcement learning: choose the parameters of a reward, an incentive or
an environment so that the policy an agent learns in response does what you want.

Start with: sobirl list, then: sobirl run four-rooms"""


def main(args: list[str] | None = None) -> None:
    """Run the command line: exit code 0 done, 2 unusable input (one line says what), 130 Ctrl-C."""
    # Tabular problems are solved in float64.
    jax.config.update("jax_enable_x64", True)
    try:
        options = _parse(sys.argv[1:] if args is None else args)
        if options is None:
            _list()
        else:
            _run(options)
    except SobirlError as error:
        _fail(str(error))
    except eqx.EquinoxRuntimeError as error:  # a check inside compiled code
        status = Status.told_by(error)
        if status is None:
            raise
        _fail(status.advice)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        print("sobirl: stopped; nothing was written", file=sys.stderr)
        sys.exit(130)


def list_problems() -> None:
    """Show the problems and what they are."""


def _parse(args: list[str]) -> RunOptions | None:
    """The options of the run that is asked for, or None for `sobirl list`.

    Raises:
        InvalidInputError: the arguments fit no command; tyro's explanation in one line.
    """
    run = tyro.extras.SubcommandApp()
    for name, experiment in EXPERIMENTS.items():
        run.command(experiment, name=name)
    app = tyro.extras.SubcommandApp()
    app.command(run, name="run")
    app.command(list_problems, name="list")
    explanation = io.StringIO()
    try:
        with contextlib.redirect_stderr(explanation):
            return app.cli(prog="sobirl", description=_DESCRIPTION, args=args or ["--help"])
    except SystemExit as exit_:
        if exit_.code in (0, None):
            raise
        raise InvalidInputError(_one_line(explanation.getvalue())) from None


def _one_line(box: str) -> str:
    """Tyro's boxed explanation as a sentence: what is wrong, and what it suggests instead."""
    plain = re.sub("\x1b\\[[0-9;]*m", "", box)  # colors, on a terminal
    rows = [row.strip("│╭╮╰╯| ") for row in plain.splitlines()][1:]  # the first is a title
    sections = [
        [row for row in section if row]
        for is_rule, section in itertools.groupby(rows, lambda row: set(row) in ({"─"}, {"-"}))
        if not is_rule
    ]
    sections = [section for section in sections if section]
    message = " ".join(sections[0]) if sections else "unusable arguments"
    for section in sections[1:]:
        if section[0] == "Perhaps you meant:":
            message += f"; perhaps you meant {section[1]}"
        elif section[0].startswith("Available subcommands:"):
            message += f"; a{' '.join(section)[1:]}"
    return f"{message} (see sobirl --help)"


def _list() -> None:
    table = Table(title="Problems")
    table.add_column("name", style="bold")
    table.add_column("what it is")
    table.add_column("command")
    for name in problems.names():
        what = problems.load(name).__doc__.splitlines()[0]
        table.add_row(name, what, f"sobirl run {name} --help")
    Console().print(table)


def _run(options: RunOptions) -> None:
    options.validate()
    choose_directory(options)  # refuses one that cannot be had, before anything is computed
    outcome = options.run()
    console = Console()
    for part in outcome.report:
        console.print(part)
    if outcome.summary.get("interrupted"):
        console.print(f"stopped after {outcome.summary['steps']} steps; keeping what was found")
    path = _shown(write_run(options, outcome))
    figures = ", ".join(f"figures/{name}.png" for name in outcome.figures)
    console.print(
        f"{outcome.summary['run_seconds']:.1f} s after {outcome.summary['compile_seconds']:.1f} s "
        f"of compilation; wrote {path}: summary.json, metrics.csv, config.json, {figures}",
        highlight=False,
        soft_wrap=True,
    )


def _shown(path: Path) -> Path:
    """The path as people would type it: relative where that is shorter."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_absolute() and path.is_relative_to(here) else path


def _fail(message: str) -> None:
    print(f"sobirl: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
