"""The command line: arguments in, an exit code and at most one line of error out."""

import time

_STARTED = time.perf_counter()  # before anything else is loaded, which is part of a run's time

import contextlib
import io
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter, validators

from sobirl.apps import commands
from sobirl.apps.parameters import command_for, new_app
from sobirl.core.errors import SobirlError
from sobirl.core.status import Status
from sobirl.core.version import __version__
from sobirl.experiments.registry import EXPERIMENTS
from sobirl.runs.options import RunOptions

_DESCRIPTION = """Bilevel reinforcement learning: choose the parameters of a reward, an incentive or
an environment so that the policy an agent learns in response does what you want.

Start with: sobirl list, then: sobirl run four-rooms"""

Port = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))]
Overlap = Annotated[int, Parameter(validator=validators.Number(gte=1))]
Repeats = Annotated[float, Parameter(validator=validators.Number(gte=0, lt=1))]
Cache = Annotated[bool, Parameter(negative="--no-cache")]


def program() -> None:
    """`main` as a process: it ends at once, where JAX would take half a second to be taken down."""
    code = 0
    try:
        main()
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
    os._exit(code)


def main(args: list[str] | None = None) -> None:
    """Run the command line: 0 done, 1 cells failed, 2 unusable input, 130 Ctrl-C."""
    started = _STARTED if args is None else time.perf_counter()
    # A run's own report says it too, in words for people who call no functions.
    warnings.filterwarnings("ignore", message="minimize: ", category=RuntimeWarning)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # for terminals without Greek letters
    try:
        _app(started)(
            sys.argv[1:] if args is None else args,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except CycloptsError as error:
        _end(f"error: {_explained(error)} (see sobirl --help)", 2)
    except SobirlError as error:
        _end(f"error: {error}", 2)
    except BrokenPipeError:  # of `sobirl list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _end(f"error: {where}{error.strerror or error}", 2)
    except KeyboardInterrupt as interrupt:
        _end(str(interrupt) or "stopped", 130)
    except RuntimeError as error:  # perhaps a check inside compiled code
        status = Status.from_error(error)
        if status is None:
            raise
        _end(f"error: {status.advice}", 2)


def _app(started: float) -> App:
    """The commands, and below `run` one an experiment."""

    def carry_out(options: RunOptions, cache: bool) -> None:
        _compute_in_float64()
        commands.run(options, started=started, cache=cache)

    def resume(run: Path, /, *, cache: Cache = True) -> None:
        """Go on with a run that was stopped or killed, as if it had not been.

        Its last checkpoint and its config.json decide everything.

        Parameters
        ----------
        run
            The run's directory, for example runs/four-rooms-1.
        cache
            Keep compiled programs, so that the next run need not compile them again.
        """
        _compute_in_float64()
        commands.resume(run, started=started, cache=cache)

    def show(run: Path, /) -> None:
        """Show what a run is, how far it came and what it found.

        Parameters
        ----------
        run
            The run's directory.
        """
        commands.show(run)

    def export_labels(
        source: Path, file: Path, /, *, env: str | None = None, force: bool = False
    ) -> None:
        """Write what a teacher said of pairs to a file, for sobirl run rlhf --labels FILE.

        Parameters
        ----------
        source
            The directory of a run of rlhf, or of a store of preferences.
        file
            A new .jsonl or .parquet file.
        env
            The environment that the pairs of a store are of, if the store does not say so.
        force
            Replace the file that is already there.
        """
        commands.export_labels(source, file, env, force)

    def label(
        run: Path,
        /,
        *,
        host: str = "127.0.0.1",
        port: Port = 8765,
        overlap: Overlap | None = None,
        repeats: Repeats | None = None,
    ) -> None:
        """Serve a page on which people compare the clips of a run with --teacher human.

        The run may be going on, wait, or be stopped. Ctrl-C ends the page.

        Parameters
        ----------
        run
            The run's directory.
        host
            Where the page is served; 0.0.0.0 for other machines too.
        port
            Its port; 0 for any that is free.
        overlap
            How many people are asked about every pair (1).
        repeats
            The share of answers after which someone is asked the same again (0.05).
        """
        commands.label(run, host, port, overlap, repeats)

    def import_labels(file: Path, store: Path, /) -> None:
        """Add labelled pairs from a file to a store of preferences, which is made if need be.

        Parameters
        ----------
        file
            A .jsonl or .parquet file.
        store
            The directory of the store.
        """
        commands.import_labels(file, store)

    def report(*runs: Path, out: Path | None = None, force: bool = False) -> None:
        """Compare runs: a table, curves, and one HTML page that needs no other file.

        Parameters
        ----------
        runs
            Directories of runs, complete or not.
        out
            Folder of the report, made new. By default runs/report-N with the first free N.
        force
            Replace the report that is already there.
        """
        commands.report(runs, out, force)

    def sweep(
        config: Path,
        /,
        *,
        out: Path | None = None,
        engine: Literal["local", "ray"] = "local",
        workers: int | None = None,
        batch: int | None = None,
        address: str | None = None,
        cpus: float = 1.0,
        gpus: float = 0.0,
        dry_run: bool = False,
        quiet: bool = False,
        cache: Cache = True,
    ) -> None:
        """Carry out many runs: grids, random search and seeds, and one table of all of them.

        A sweep.toml with six runs, of two methods with three seeds each:

            command = "random-mdp"
            seeds = 3
            fixed = { num_steps = 100 }
            grid = { method = ["exact", "m-sobirl"] }

        sobirl sweep sweep.toml --dry-run shows them, sobirl sweep sweep.toml carries them out. The
        same command again does what is missing: after Ctrl-C, a kill, or a change of the file.

        Parameters
        ----------
        config
            A TOML file; docs/sweeps.md has all that may stand in it.
        out
            Folder of the sweep; the same one again goes on. By default sweeps/NAME, like the file.
        engine
            Worker processes of this machine, or a Ray cluster.
        workers
            Worker processes of the engine local; by default one a processor.
        batch
            The most cells that are computed in one program; 1 for each by itself. By default 16,
            as far as every worker has something to do.
        address
            Of the Ray cluster; by default RAY_ADDRESS, or one of this machine.
        cpus
            Processors that a cell takes in the cluster.
        gpus
            GPUs that a cell takes in the cluster, perhaps a part of one.
        dry_run
            Check everything and show the cells; start nothing.
        quiet
            Show no progress.
        cache
            Keep compiled programs, so that the next run need not compile them again.
        """
        commands.sweep(
            config,
            out,
            engine,
            workers=workers,
            batch=batch,
            address=address,
            cpus=cpus,
            gpus=gpus,
            dry_run=dry_run,
            quiet=quiet,
            cache=cache,
        )

    def bench(
        *tasks: str,
        methods: list[str] | None = None,
        seeds: int = 5,
        full: bool = False,
        environment_steps: int | None = None,
        seconds: float | None = None,
        out: Path | None = None,
        workers: int | None = None,
        dry_run: bool = False,
        quiet: bool = False,
        cache: Cache = True,
    ) -> None:
        """Compare methods on problems, within one budget, and write a leaderboard.

        sobirl bench --dry-run shows the runs; sobirl bench four-rooms --methods exact hpgd makes
        ten of them. The same command again does what is missing.

        Parameters
        ----------
        tasks
            Some of the problems; by default those that end soon, with --full all.
        methods
            Of each task those that it has; by default all.
        seeds
            Runs of a method on a task, with the seeds 0, 1, ...
        full
            The published budgets, instead of those that end in minutes.
        environment_steps
            What a run may simulate in all; methods that read the model take none.
        seconds
            What the steps of a run may take, without compilation: the published budgets, ended by
            the clock.
        out
            Folder; the same one again goes on. By default bench, or bench-full with --full.
        workers
            Worker processes; by default one a processor.
        dry_run
            Check everything and show the runs; start nothing.
        quiet
            Show no progress.
        cache
            Keep compiled programs, so that the next run need not compile them again.
        """
        commands.bench(
            tasks,
            methods or (),
            out,
            seeds=seeds,
            full=full,
            environment_steps=environment_steps,
            seconds=seconds,
            workers=workers,
            dry_run=dry_run,
            quiet=quiet,
            cache=cache,
        )

    app = new_app(name="sobirl", help=_DESCRIPTION, version=__version__)
    run = new_app(name="run", help="Carry out a new run of a problem; sobirl list names them.")
    for name, kind in EXPERIMENTS.items():
        run.command(command_for(kind, carry_out), name=name)
    app.command(run)
    for command in (resume, show, report, label, export_labels, import_labels, sweep, bench):
        app.command(command)
    app.command(commands.list_all, name="list")
    return app


def _compute_in_float64() -> None:
    """Tabular problems are solved in float64."""
    import jax

    jax.config.update("jax_enable_x64", True)


def _explained(error: CycloptsError) -> str:
    """What is wrong, in one line."""
    return str(error).rstrip(".")


def _end(message: str, code: int) -> None:
    print(f"sobirl: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    program()
