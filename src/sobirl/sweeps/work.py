"""What every worker does, wherever it is: prepare once, then carry out one cell after another."""

import contextlib
import dataclasses
import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sobirl.core.errors import InvalidInputError
from sobirl.experiments.registry import EXPERIMENTS
from sobirl.runs.decoding import decode
from sobirl.runs.options import RunOptions
from sobirl.sweeps.folder import SweepFolder

# A compiled program holds some 2 MB, and memory maps, of which Linux gives a process 65,530.
_MOST_CELLS = 200


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a worker is told once; plain values, so that JSON can carry them.

    Attributes:
        folder: of the sweep.
        home: the folder in which the sweep was started; modules are found there.
        modules: of the user's own, imported first.
        cache: whether compiled programs are kept.
    """

    folder: str
    home: str
    modules: Sequence[str] = ()
    cache: bool = True


@dataclasses.dataclass(frozen=True)
class Job:
    """A cell as workers are told of it; plain values, so that JSON can carry them.

    Attributes:
        id: of the cell.
        command: which experiment.
        options: those that are given.
    """

    id: str
    command: str
    options: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Answer:
    """A cell that has ended.

    Attributes:
        id: of the cell.
        error: what went wrong, in one line; empty if nothing did.
    """

    id: str
    error: str


def import_modules(modules: Sequence[str], home: str) -> None:
    """Import modules with commands and methods of a user's own.

    Raises:
        InvalidInputError: one cannot be imported.
    """
    if modules and home not in sys.path:
        sys.path.insert(0, home)
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:
            raise InvalidInputError(
                f"modules: {name!r} cannot be imported ({type(error).__name__}: {error}); it is "
                f"looked for in {home} and among what is installed"
            ) from error


def prepare(settings: Settings) -> None:
    """Set this process up for work."""
    import jax

    from sobirl.runs.cache import keep_compiled_programs

    jax.config.update("jax_enable_x64", True)  # as on the command line
    keep_compiled_programs(settings.cache)
    import_modules(settings.modules, settings.home)


def work(settings: Settings, jobs: Sequence[Job]) -> Iterator[Answer]:
    """Carry out cells, or go on with them: nothing that is done is done again.

    Several are computed in one program, but for those that are half-done; where that fails, or they
    are not as alike as they seemed, one by one.

    Yields:
        an answer for each.

    Raises:
        KeyboardInterrupt: the process was asked to end; what was done of the cells is kept.
    """
    folder = SweepFolder(Path(settings.folder))
    fresh = [job for job in jobs if not folder.run(job.id).exists()]
    if len(fresh) > 1:
        try:
            _carry_out_batch(folder, fresh)
        except (Exception, SystemExit):  # the one at fault will say it alone
            traceback.print_exc()
    for job in jobs:
        yield Answer(job.id, _work_on(folder, job))


def _work_on(folder: SweepFolder, job: Job) -> str:
    """What went wrong with a cell, in one line; empty if nothing did."""
    try:
        with folder.claimed(job.id):
            if not folder.is_done(job.id):
                _carry_out(folder, job)
    except (Exception, SystemExit) as error:
        return folder.write_error(job.id, error)
    folder.forget_error(job.id)
    return ""


def _carry_out(folder: SweepFolder, job: Job) -> None:
    from sobirl.runs import engine
    from sobirl.runs.configuration import options_of
    from sobirl.runs.saved import is_run

    path = folder.run(job.id)
    options = _options_of(folder, job)
    if is_run(path):
        try:
            engine.resume(path, lambda saved: options_of(saved, type(options)))
            return
        except InvalidInputError as error:
            if isinstance(error.__cause__, OSError):  # a full disk, say: what is kept is good
                raise
            # It is damaged, or of a sobirl that had other options.
            options = dataclasses.replace(options, force=True)
    engine.carry_out(options)


def _carry_out_batch(folder: SweepFolder, jobs: Sequence[Job]) -> None:
    from sobirl.runs import engine

    with contextlib.ExitStack() as held:
        for job in jobs:
            held.enter_context(folder.claimed(job.id))
        engine.carry_out_batch([_options_of(folder, job) for job in jobs])


def _options_of(folder: SweepFolder, job: Job) -> RunOptions:
    """The options with which a cell is run."""
    ours = {"out": folder.run(job.id), "quiet": True}
    # Of many quick runs, figures would take most of the time.
    return decode(EXPERIMENTS[job.command], {"figures": False, **job.options, **ours})


_prepared: set[str] = set()
_cells = 0


def work_in_this_process(settings: Settings, jobs: Sequence[Job]) -> Iterator[Answer]:
    """`prepare`, where that has not been done, and `work`; memory is kept within bounds."""
    global _cells
    if str(settings) not in _prepared:
        prepare(settings)
        _prepared.add(str(settings))
    yield from work(settings, jobs)
    _cells += len(jobs)
    if _cells >= _MOST_CELLS:
        import jax

        jax.clear_caches()
        _cells = 0


def cores() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
