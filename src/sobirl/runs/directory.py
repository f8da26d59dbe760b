"""Run directories: made when a run begins, completed when it ends, resumable in between."""

import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock

from sobirl.core.errors import InvalidInputError
from sobirl.runs.configuration import configuration
from sobirl.runs.files import atomic_file, csv_header, csv_rows, write_json, write_text
from sobirl.runs.journal import Journal
from sobirl.runs.metrics import CsvStream, TensorBoardStream
from sobirl.runs.options import RunOptions, StepwiseOptions
from sobirl.runs.outcome import Outcome
from sobirl.runs.saved import CHECKPOINT, CONFIG, METRICS, SUMMARY, is_run

_LOCK, _REPLACED = ".lock", ".replaced"


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """The directory of a run that is being carried out.

    Attributes:
        path: where it is.
        options: what is run in it.
    """

    path: Path
    options: RunOptions

    @classmethod
    def create(cls, options: RunOptions) -> "RunDirectory":
        """Make a directory that holds `config.json`, in one step.

        A run that `--force` replaces moves into it, and is removed once the new one is complete.

        Raises:
            InvalidInputError: as for `choose_directory`.
        """
        config = configuration(options)
        path = choose_directory(options)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            draft.chmod(0o755)
            write_json(draft / CONFIG, config)
            if options.force and path.exists():
                path.rename(draft / _REPLACED)
            while True:
                try:
                    draft.rename(path)
                    break
                except OSError:
                    if options.out is not None or not path.exists():
                        raise
                    path = choose_directory(options)  # another run took it in the meantime
        except BaseException:
            if (draft / _REPLACED).exists():
                (draft / _REPLACED).rename(path)
            shutil.rmtree(draft, ignore_errors=True)
            raise
        return cls(path, options)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from working on the run at the same time.

        Raises:
            InvalidInputError: another one does.
        """
        with hold(self.path):
            yield

    def recorder(self) -> Journal | None:
        """What records the steps of the run; None for one that has no steps to resume."""
        if not isinstance(self.options, StepwiseOptions):
            return None
        streams = [CsvStream(self.path / METRICS)]
        if self.options.tensorboard:
            streams.append(TensorBoardStream(self.path / "tensorboard"))
        return Journal(self.path / CHECKPOINT, self.options.checkpoint_seconds, streams)

    @property
    def has_checkpoint(self) -> bool:
        """Whether steps of the run are kept."""
        return (self.path / CHECKPOINT).exists()

    def finish(self, outcome: Outcome) -> None:
        """Write everything that the run found; `summary.json` last, which marks it as complete."""
        for name, text in outcome.files.items():
            write_text(self.path / name, text)
        (self.path / "figures").mkdir(exist_ok=True)
        for name, draw in outcome.figures.items():
            with atomic_file(self.path / "figures" / f"{name}.png") as file:
                draw().savefig(file, format="png", dpi=150)
        write_text(self.path / METRICS, csv_header(outcome.history) + csv_rows(outcome.history))
        write_json(self.path / SUMMARY, outcome.summary)
        shutil.rmtree(self.path / _REPLACED, ignore_errors=True)
        for draft in self.path.glob(".*.draft"):  # what a kill left of files being written
            draft.unlink()

    def abandon(self) -> None:
        """Undo `create`: remove the directory, and put back the run that it replaced."""
        gone = Path(tempfile.mkdtemp(prefix=f".{self.path.name}-", dir=self.path.parent))
        self.path.rename(gone / "run")
        if (gone / "run" / _REPLACED).exists():
            (gone / "run" / _REPLACED).rename(self.path)
        shutil.rmtree(gone, ignore_errors=True)
        if self.options.out is None:
            with contextlib.suppress(OSError):
                self.path.parent.rmdir()  # the folder `runs`, if nothing else is in it


def choose_directory(options: RunOptions) -> Path:
    """Where the run goes.

    Raises:
        InvalidInputError: the directory exists and `--force` is not given, or is not a run
            directory (which `--force` never removes), or is in use, or cannot be made there.
    """
    if options.out is None:
        number = 1
        while (path := Path("runs") / f"{options.problem}-{number}").exists():
            number += 1
    else:
        path = options.out.resolve()
    if path.exists():
        if not options.force:
            unfinished = is_run(path) and not (path / SUMMARY).exists()
            other = f"; or go on with it: sobirl resume {options.out}" if unfinished else ""
            raise InvalidInputError(f"--out {path} exists; choose another or add --force{other}")
        if not is_run(path):
            raise InvalidInputError(
                f"--out {path} is not a run directory of sobirl; --force does not remove it"
            )
        inputs = (value for value in vars(options).values() if isinstance(value, Path))
        if any(path in value.resolve().parents for value in inputs):
            raise InvalidInputError(f"--out {path} holds an input of this run; choose another")
        with hold(path):
            pass
    ancestor = next(parent for parent in path.absolute().parents if parent.exists())
    if not ancestor.is_dir() or not os.access(ancestor, os.W_OK):
        raise InvalidInputError(f"--out {path}: cannot write to {ancestor}")
    return path


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the lock of a run directory; the system lets go of it when the process ends.

    Raises:
        InvalidInputError: another process holds it.
    """
    try:
        with filelock.FileLock(path / _LOCK, timeout=0):
            yield
    except filelock.Timeout as error:
        raise InvalidInputError(f"{path}: another process is working on this run") from error


def in_use(path: Path) -> bool:
    """Whether a process is working on a run."""
    try:
        with hold(path):
            return False
    except InvalidInputError:
        return True
