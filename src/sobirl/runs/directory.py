"""Run directories: made when a run begins, completed when it ends, resumable in between."""

import contextlib
import dataclasses
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sobirl.core.errors import InvalidInputError
from sobirl.core.files import atomic_file
from sobirl.core.locks import is_locked, lock
from sobirl.runs.clock import Clock, Seconds
from sobirl.runs.configuration import configuration, fingerprint
from sobirl.runs.files import csv_header, csv_rows, write_file, write_json
from sobirl.runs.inputs import file_in
from sobirl.runs.journal import Journal
from sobirl.runs.metrics import CsvStream, MetricsStream, TensorBoardStream
from sobirl.runs.options import RunOptions, StepwiseOptions
from sobirl.runs.outcome import Outcome
from sobirl.runs.saved import (
    CHECKPOINT,
    CONFIG,
    ERROR,
    LABELS,
    METRICS,
    SUMMARY,
    X,
    is_run,
    read_config,
)
from sobirl.runs.solution import solution_bytes

_REPLACED = ".replaced"


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """The directory of a run that is being carried out, by this process alone.

    Attributes:
        path: where it is.
        options: what is run in it.
    """

    path: Path
    options: RunOptions

    @classmethod
    @contextlib.contextmanager
    def create(cls, options: RunOptions) -> Iterator["RunDirectory"]:
        """Make a directory that holds `config.json`, in one step, and hold its lock.

        A run that `--force` replaces moves into it, and is removed once the new one is complete.

        Raises:
            InvalidInputError: as for `choose_directory`.
        """
        config = configuration(options)
        parent = _folder_of(options)
        with contextlib.ExitStack() as held:
            with lock(parent, patience=10.0):  # one newcomer at a time
                path = choose_directory(options)
                draft = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=parent))
                held.enter_context(lock(draft))
                try:
                    draft.chmod(0o755)
                    write_json(draft / CONFIG, config)
                    if path.exists():
                        path.rename(draft / _REPLACED)
                    draft.rename(path)
                except BaseException:
                    if (draft / _REPLACED).exists():
                        (draft / _REPLACED).rename(path)
                    shutil.rmtree(draft, ignore_errors=True)
                    raise
            yield cls(path, options)

    def recorder(self) -> Journal | None:
        """What records the steps of the run; None for one that has no steps to resume."""
        if not isinstance(self.options, StepwiseOptions):
            return None
        streams: list[MetricsStream] = [CsvStream(self.path / METRICS)]
        if self.options.tensorboard:
            streams.append(TensorBoardStream(self.path / "tensorboard"))
        return self.options.journal(
            self.path / CHECKPOINT,
            self.options.checkpoint_seconds,
            streams,
            fingerprint(self.options, read_config(self.path)),
            math.inf if self.options.time_limit is None else self.options.time_limit,
        )

    @property
    def has_checkpoint(self) -> bool:
        """Whether steps of the run are kept."""
        return (self.path / CHECKPOINT).exists()

    @property
    def is_kept(self) -> bool:
        """Whether there is something that would be missed."""
        return self.has_checkpoint or any((self.path / name).exists() for name in self.options.kept)

    @property
    def is_complete(self) -> bool:
        """Whether everything that was found is written."""
        return (self.path / SUMMARY).exists()

    def finish(self, outcome: Outcome, clock: Clock | None = None) -> Seconds:
        """Write everything that the run found; `summary.json` last, which marks it as complete.

        Returns:
            where the run's time went, which the summary has too.
        """
        for name, content in outcome.files.items():
            (self.path / name).parent.mkdir(exist_ok=True)
            write_file(self.path / name, content)
        if outcome.x is not None:
            write_file(self.path / X, solution_bytes(outcome.x))
        (self.path / "figures").mkdir(exist_ok=True)
        for name, draw in outcome.figures.items() if self.options.figures else ():
            with atomic_file(self.path / "figures" / f"{name}.png") as file:
                draw().savefig(file, format="png", dpi=150)
        write_file(self.path / METRICS, csv_header(outcome.history) + csv_rows(outcome.history))
        (self.path / ERROR).unlink(missing_ok=True)
        seconds = (clock or Clock()).seconds()
        times = {
            "compile_seconds": round(seconds.compile, 3),
            "run_seconds": round(seconds.run, 3),
            "wall_seconds": round(seconds.wall, 3),
        }
        write_json(self.path / SUMMARY, outcome.summary | times)
        clean(self.path)
        return seconds

    def write_error(self, details: str) -> None:
        """Keep what is known of an error that ended the run, for its author to read."""
        write_file(self.path / ERROR, details)

    def abandon(self) -> None:
        """Undo `create`: remove the directory, and put back the run that it replaced."""
        gone = Path(tempfile.mkdtemp(prefix=f".{self.path.name}-", dir=self.path.parent))
        try:
            self.path.rename(gone / "run")
            if (gone / "run" / _REPLACED).exists():
                (gone / "run" / _REPLACED).rename(self.path)
        finally:
            shutil.rmtree(gone, ignore_errors=True)
        if self.options.out is None:
            with contextlib.suppress(OSError):
                self.path.parent.rmdir()  # the folder `runs`, if nothing else is in it


def clean(path: Path) -> None:
    """Remove the run that a complete one replaced, and what kills left of files being written."""
    shutil.rmtree(path / _REPLACED, ignore_errors=True)
    for draft in path.rglob(".*.draft"):
        draft.unlink()


def choose_directory(options: RunOptions) -> Path:
    """Where the run goes.

    Raises:
        InvalidInputError: the directory exists and `--force` is not given, or is not a run
            directory (which `--force` never removes), or is in use.
    """
    if options.out is None:
        number = 1
        while (path := Path("runs") / f"{options.problem}-{number}").exists():
            number += 1
        return path
    path = options.out.resolve()
    _recover(path)
    if path.exists():
        if not options.force:
            unfinished = is_run(path) and not (path / SUMMARY).exists()
            other = f"; or go on with it: sobirl resume {options.out}" if unfinished else ""
            raise InvalidInputError(f"--out {path} exists; choose another or add --force{other}")
        if not is_run(path):
            raise InvalidInputError(
                f"--out {path} is not a run directory of sobirl; --force does not remove it"
            )
        inputs = filter(None, map(file_in, vars(options).values()))
        if any(path in file.resolve().parents for file in inputs):
            raise InvalidInputError(f"--out {path} holds an input of this run; choose another")
        if (path / LABELS).exists():
            raise InvalidInputError(
                f"--out {path} holds what people said, which --force does not remove"
            )
        if is_locked(path):
            raise InvalidInputError(f"--out {path}: another process is working on it")
    return path


def _folder_of(options: RunOptions) -> Path:
    """The folder in which the run's directory will be, made if it is not there.

    Raises:
        InvalidInputError: it cannot be made or written to.
    """
    folder = Path("runs") if options.out is None else options.out.resolve().parent
    ancestor = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if not ancestor.is_dir() or not os.access(ancestor, os.W_OK):
        raise InvalidInputError(f"--out {folder}: cannot write to {ancestor}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _recover(path: Path) -> None:
    """Put back a run that was being replaced when a kill came between the two renames."""
    for draft in path.parent.glob(f".{path.name}-*"):
        if (draft / _REPLACED).is_dir() and not path.exists():
            (draft / _REPLACED).rename(path)
            shutil.rmtree(draft, ignore_errors=True)
