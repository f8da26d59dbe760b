"""What the command line can do, one function a command."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sobirl.core.errors import InvalidInputError
from sobirl.runs.cache import keep_compiled_programs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sobirl.prefs import LabelledPair
    from sobirl.runs.engine import Finished
    from sobirl.runs.options import RunOptions
    from sobirl.sweeps.cells import Cell


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


def export_labels(source: Path, file: Path, env: str | None, force: bool) -> None:
    """Write the labelled pairs of a run, or of a store of preferences, to a file."""
    from sobirl.experiments.registry import kind_of
    from sobirl.prefs import is_store, write_labels
    from sobirl.runs.configuration import options_of
    from sobirl.runs.saved import LABELS, SavedRun, is_run

    if file.exists() and not force:
        raise InvalidInputError(f"{file}: exists; choose another or add --force")
    if is_run(source):
        if env is not None:
            raise InvalidInputError("--env goes with a store only; a run knows its environment")
        saved = SavedRun.load(source)
        options = options_of(saved, kind_of(saved))
        if not hasattr(options, "labelled"):
            raise InvalidInputError(f"{source}: is a run of {saved.problem}, which has no labels")
        if is_store(source / LABELS):
            pairs = _pairs_in_store(source / LABELS, None)
        else:
            pairs = options.labelled(saved)
    elif not is_store(source):
        raise InvalidInputError(f"{source}: is neither a run nor a store of preferences")
    else:
        pairs = _pairs_in_store(source, env)
    write_labels(file, pairs)
    print(f"wrote {file}: {len(pairs)} labelled pairs")


def _pairs_in_store(path: Path, env: str | None) -> "list[LabelledPair]":
    from sobirl.prefs import PreferenceStore, labels_of_store

    with PreferenceStore(path) as store:
        env = env or store.settings().get("environment")
        if env is None:
            raise InvalidInputError("--env must say which environment the store's pairs are of")
        return labels_of_store(store, env)


def label(run: Path, host: str, port: int, overlap: int | None, repeats: float | None) -> None:
    """Serve the page on which people compare the clips of a run."""
    from sobirl.runs.saved import LABELS, SavedRun

    saved = SavedRun.load(run)
    if not (run / LABELS).is_dir():
        raise InvalidInputError(
            f"{run}: has nobody to ask; begin a run with sobirl run rlhf --teacher human"
        )
    try:
        from sobirl.apps.labelling.server import serve
    except ImportError as error:
        raise InvalidInputError(
            f"sobirl label needs further packages ({error}): pip install 'sobirl[label]'"
        ) from error
    serve(saved, host, port, overlap, repeats)


def import_labels(file: Path, store: Path) -> None:
    """Add the labelled pairs of a file to a store of preferences."""
    from sobirl.prefs import PreferenceStore, labels_into_store, read_labels

    pairs = read_labels(file)
    with PreferenceStore(store) as opened:
        before = len(opened)
        labels_into_store(opened, pairs)
        print(f"added {len(opened) - before} pairs to {store}, {len(pairs)} answers")


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


def sweep(
    config: Path,
    out: Path | None,
    engine: str,
    *,
    workers: int | None,
    batch: int | None,
    address: str | None,
    cpus: float,
    gpus: float,
    dry_run: bool,
    quiet: bool,
    cache: bool,
) -> None:
    """Carry out a sweep, or what is missing of one; exit code 1 if cells failed."""
    from sobirl.runs.engine import shown
    from sobirl.sweeps.config import read_config
    from sobirl.sweeps.local import LocalEngine
    from sobirl.sweeps.on_ray import RayEngine
    from sobirl.sweeps.sweep import cells_of, run_sweep

    for name, of, given in (
        ("--workers", "local", workers is not None),
        ("--address", "ray", address is not None),
        ("--cpus", "ray", cpus != 1),
        ("--gpus", "ray", gpus != 0),
    ):
        if given and engine != of:
            raise InvalidInputError(f"{name} goes with --engine {of} only")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # a GPU is for the workers
    description = read_config(config)
    cells = cells_of(description, config)
    folder = Path("sweeps") / config.stem if out is None else out
    if dry_run:
        _print_cells(cells, folder)
        return
    swept = run_sweep(
        cells,
        folder,
        LocalEngine(workers, batch) if engine == "local" else RayEngine(address, cpus, gpus, batch),
        modules=description.modules,
        cache=cache,
        progress=False if quiet else None,
    )
    print(f"{len(cells) - len(swept.failures)} of {len(cells)} cells are done")
    print(f"wrote {shown(swept.path)}: {', '.join(swept.files)}, cells/")
    if "sweep.parquet" not in swept.files:
        print("no sweep.parquet, which needs a further package: pip install 'sobirl[parquet]'")
    for name, error in swept.failures.items():
        print(f"failed: {name}: {error}", file=sys.stderr)
    if swept.failures:
        sys.exit(1)


def bench(
    names: "Sequence[str]",
    methods: "Sequence[str]",
    out: Path | None,
    *,
    seeds: int,
    full: bool,
    environment_steps: int | None,
    seconds: float | None,
    workers: int | None,
    dry_run: bool,
    quiet: bool,
    cache: bool,
) -> None:
    """Carry out a benchmark, or what is missing of one; exit code 1 if runs failed."""
    from rich.console import Console

    from sobirl.bench import Budget, cells_of, run_bench
    from sobirl.bench.tables import planned, tables
    from sobirl.runs.engine import shown
    from sobirl.sweeps.local import LocalEngine

    budget = Budget(full, environment_steps, seconds)
    folder = out or Path("bench-full" if full else "bench")
    if dry_run:
        Console().print(planned(cells_of(names, methods, seeds, budget), folder))
        return
    board = run_bench(
        names,
        methods,
        seeds=seeds,
        budget=budget,
        out=folder,
        engine=LocalEngine(workers, batch=None if seconds is None else 1),
        cache=cache,
        progress=False if quiet else None,
    )
    for part in tables(board):
        Console().print(part, soft_wrap=isinstance(part, str))
    print(f"wrote {shown(board.path)}: leaderboard.md, leaderboard.csv, figures/, cells/")
    for name, error in board.failures.items():
        print(f"failed: {name}: {error}", file=sys.stderr)
    if board.failures:
        sys.exit(1)


def _print_cells(cells: "Sequence[Cell]", folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from sobirl.sweeps.cells import varied
    from sobirl.sweeps.folder import SweepFolder
    from sobirl.sweeps.table import option_of

    names, states = varied(cells), SweepFolder(folder)
    table = Table("cell", *names, "state", title=f"{len(cells)} cells in {folder}")
    for cell in cells:
        values = (option_of(cell, name) for name in names)
        words = ("" if value is None else str(value) for value in values)
        table.add_row(cell.id, *words, states.state(cell.id))
    Console().print(table)


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
    drawn = sorted((finished.path / "figures").glob("*.png"))
    files = ["summary.json", "metrics.csv", "config.json", *(f"figures/{f.name}" for f in drawn)]
    console.print(
        f"{finished.seconds}; wrote {finished.path}: {', '.join(files)}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
