"""The command line: arguments in, an exit code and at most one line of error out."""

import io
import sys
import warnings

import equinox as eqx
import jax
import tyro

from sobirl.apps.commands import ListProblems, Report, Resume, Run, Show
from sobirl.core.errors import SobirlError
from sobirl.core.status import Status
from sobirl.runs.arguments import parsed
from sobirl.runs.options import RunOptions
from sobirl.runs.registry import EXPERIMENTS

_DESCRIPTION = """Bilevel reinforcement learning: choose the parameters of a reward, an incentive or
an environment so that the policy an agent learns in response does what you want.

Start with: sobirl list, then: sobirl run four-rooms"""


def main(args: list[str] | None = None) -> None:
    """Run the command line: exit code 0 done, 2 unusable input (one line says what), 130 Ctrl-C."""
    # Tabular problems are solved in float64.
    jax.config.update("jax_enable_x64", True)
    # A run's own report says it too, in words for people who call no functions.
    warnings.filterwarnings("ignore", message="minimize: ", category=RuntimeWarning)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # for terminals without Greek letters
    try:
        command = _parse(sys.argv[1:] if args is None else args)
        (Run(command) if isinstance(command, RunOptions) else command)()
    except SobirlError as error:
        _end(f"error: {error}", 2)
    except eqx.EquinoxRuntimeError as error:  # a check inside compiled code
        status = Status.told_by(error)
        if status is None:
            raise
        _end(f"error: {status.advice}", 2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _end(f"error: {where}{error.strerror or error}", 2)
    except KeyboardInterrupt as interrupt:
        _end(str(interrupt) or "stopped", 130)


def _parse(args: list[str]):
    """The command that is asked for, or the options of the run.

    Raises:
        InvalidInputError: the arguments fit no command; tyro's explanation in one line.
    """
    run = tyro.extras.SubcommandApp()
    for name, experiment in EXPERIMENTS.items():
        run.command(experiment, name=name)
    app = tyro.extras.SubcommandApp()
    app.command(run, name="run", help="Carry out a new run of a problem; sobirl list names them.")
    for name, command in (
        ("resume", Resume),
        ("show", Show),
        ("report", Report),
        ("list", ListProblems),
    ):
        app.command(command, name=name)
    return parsed(lambda: app.cli(prog="sobirl", description=_DESCRIPTION, args=args or ["--help"]))


def _end(message: str, code: int) -> None:
    print(f"sobirl: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
