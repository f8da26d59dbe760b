"""A sweep from its cells to its table: `run_sweep`, whatever the engine."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

from sobirl.bilevel.interrupts import termination_as_interrupt
from sobirl.core.errors import InvalidInputError
from sobirl.core.locks import lock
from sobirl.sweeps import progress as progress_of
from sobirl.sweeps.cells import Cell, check, varied
from sobirl.sweeps.config import SweepConfig
from sobirl.sweeps.engines import Engine
from sobirl.sweeps.folder import SweepFolder
from sobirl.sweeps.local import LocalEngine
from sobirl.sweeps.table import Row, Table, write_table
from sobirl.sweeps.work import Answer, Job, Settings, import_modules

_LOOK_SECONDS, _TABLE_SECONDS = 1.0, 10.0


@dataclasses.dataclass(frozen=True)
class Swept:
    """A sweep of which nothing is left to do.

    Attributes:
        path: its folder.
        rows: of the table, one a cell in the order of the cells; see `Table`.
        files: the names of the table's files.
        failures: the cells that failed, as people know them, and why.
    """

    path: Path
    rows: list[Row]
    files: list[str]
    failures: dict[str, str]


def cells_of(config: SweepConfig, source: Path) -> list[Cell]:
    """The cells of a configuration, all of which can be run.

    Raises:
        InvalidInputError: naming the file, what is wrong and where.
    """
    try:
        import_modules(config.modules, str(Path.cwd()))
        cells = config.cells()
        check(cells)
    except InvalidInputError as error:
        raise InvalidInputError(f"{source}: {error}") from error
    return cells


def run_sweep(
    cells: Sequence[Cell],
    out: Path | str,
    engine: Engine | None = None,
    *,
    modules: Sequence[str] = (),
    cache: bool = True,
    progress: bool | None = None,
) -> Swept:
    """Carry out every cell that is not done yet, and write the table.

    The same call made again, after whatever happened, does what is missing: cells that are done
    stay, half-done ones go on from their checkpoints, and failed ones are tried again.

    Args:
        cells: what is run; see `read_config` and `Cell`.
        out: the folder, made where it is not there.
        engine: who does the work, `LocalEngine()` by default.
        modules: of your own with commands and methods, for workers to import; they are looked for
            in the current folder too.
        cache: whether compiled programs are kept.
        progress: False to show none.

    Raises:
        InvalidInputError: cells cannot be run, and then none is; or another process works on the
            folder.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what was done is kept.
    """
    home = Path.cwd()
    import_modules(modules, str(home))
    check(cells)
    folder = SweepFolder(Path(out).absolute())
    if folder.path.exists() and not folder.path.is_dir():
        raise InvalidInputError(f"{out}: is not a folder")
    folder.make()
    with lock(folder.path):
        return _carry_out(
            cells,
            folder,
            engine or LocalEngine(),
            Settings(str(folder.path), str(home), list(modules), cache),
            progress,
        )


def _carry_out(
    cells: Sequence[Cell],
    folder: SweepFolder,
    engine: Engine,
    settings: Settings,
    wanted: bool | None,
) -> Swept:
    table, names = Table(cells, folder), varied(cells)
    left = {cell.id: cell for cell in cells if not folder.is_done(cell.id)}
    groups: dict[str, list[Job]] = {}
    for id, cell in left.items():
        groups.setdefault(cell.program, []).append(Job(id, cell.command, cell.explicit))
    for id in left:
        folder.forget_error(id)
    folder.forget_dead(left)
    progress = progress_of.Progress(cells, [c.id for c in cells if c.id not in left])
    look, write = _Regularly(_LOOK_SECONDS), _Regularly(_TABLE_SECONDS)
    try:
        with (
            termination_as_interrupt(),
            progress_of.shown(progress, wanted if groups else False),
            _closing(engine.carry_out(list(groups.values()), settings)) as answers,
        ):
            for answer in answers if groups else ():
                if answer is not None:
                    del left[answer.id]
                    progress.end(answer.id, failed=bool(answer.error))
                look(lambda: progress.run(folder.running(left)))
                write(lambda: write_table(table.rows(), folder.path))
            progress.run([])
    except KeyboardInterrupt:
        write_table(table.rows(), folder.path)
        done = sum(folder.is_done(cell.id) for cell in cells)
        raise KeyboardInterrupt(
            f"stopped; {done} of {len(cells)} cells are done, and what others have done is kept; "
            "go on with the same command"
        ) from None
    rows = table.rows()
    failures = {
        cell.named(names): str(row["error"])
        for cell, row in zip(cells, rows, strict=True)
        if row["status"] != "done"
    }
    return Swept(folder.path, rows, write_table(rows, folder.path), failures)


@contextlib.contextmanager
def _closing(answers: Iterator[Answer | None]) -> Iterator[Iterator[Answer | None]]:
    """End the engine's work as soon as ours does."""
    try:
        yield answers
    finally:
        if isinstance(answers, Generator):
            answers.close()


class _Regularly:
    """Does something every so many seconds, and less often if that takes over a tenth of the time.

    Args:
        seconds: the least time from the end of one call to the next.
    """

    def __init__(self, seconds: float):
        self._seconds, self._next = seconds, 0.0

    def __call__(self, function: Callable[[], object]) -> None:
        began = time.monotonic()
        if began < self._next:
            return
        function()
        now = time.monotonic()
        self._next = now + max(self._seconds, 10 * (now - began))
