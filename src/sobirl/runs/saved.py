"""Reading a run directory: what was run, how far it came, what it found."""

import csv
import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from sobirl.core.errors import InvalidInputError
from sobirl.runs.configuration import FORMAT

CONFIG, SUMMARY, METRICS, CHECKPOINT, X, ERROR, LABELS = (
    "config.json",
    "summary.json",
    "metrics.csv",
    "checkpoint.npz",
    "x.npz",
    "error.txt",
    "labels",  # a folder: what people are asked, and said
)


class NewerRunError(InvalidInputError):
    """A run directory is sobirl's, but this sobirl is too old to read it."""


@dataclasses.dataclass(frozen=True)
class SavedRun:
    """A run as it lies on disk.

    Attributes:
        path: its directory.
        config: the contents of `config.json`.
        summary: the contents of `summary.json`; None for a run that has not ended.
    """

    path: Path
    config: dict[str, Any]
    summary: dict[str, Any] | None

    @classmethod
    def load(cls, path: Path) -> "SavedRun":
        """Read a run directory.

        Raises:
            InvalidInputError: there is none, it is not sobirl's, is damaged, or comes from a
                newer sobirl.
        """
        config = read_config(path)
        summary = None
        if (path / SUMMARY).exists():
            summary = _read_json(path / SUMMARY)
            for key, kind in (("metrics", dict), ("method", str), ("steps", int)):
                if not isinstance(summary.get(key), kind):
                    raise InvalidInputError(f"{path / SUMMARY}: has no usable entry {key!r}")
        return cls(path, config, summary)

    @property
    def problem(self) -> str:
        """The name of the problem."""
        return self.config["problem"]

    @property
    def command(self) -> str:
        """The command that repeats the run."""
        return str(self.config.get("command", f"sobirl run {self.problem}"))

    @property
    def asked(self) -> str:
        """The options of that command."""
        return self.command.partition(f" run {self.problem}")[2].strip()

    @property
    def script(self) -> dict[str, Any] | None:
        """The program that recorded it from Python: its path, arguments and folder."""
        script = self.config.get("script")
        return script if isinstance(script, dict) else None

    @property
    def is_recorded(self) -> bool:
        """Whether `sobirl.record` made it, of a problem that only a program knows."""
        return "script" in self.config

    @property
    def resume_command(self) -> str:
        """The command that goes on with the run."""
        program = self.config.get("program")
        words = program if isinstance(program, list) else ["sobirl"]
        return shlex.join([*map(str, words), "resume", str(self.path)])

    def steps(self) -> int:
        """Steps that are done and kept.

        Raises:
            InvalidInputError: the checkpoint is damaged.
        """
        if self.summary is not None:
            return self.summary["steps"]
        from sobirl.bilevel.checkpoint import read_checkpoint, steps_in

        path = self.path / CHECKPOINT
        return steps_in(read_checkpoint(path)) if path.exists() else 0

    def metrics(self) -> dict[str, np.ndarray]:
        """The columns of `metrics.csv` (rows,); empty if there is none yet.

        A last line that is being written, or was when the run was killed, is left out.

        Raises:
            InvalidInputError: the file is not one of sobirl's.
        """
        path = self.path / METRICS
        if not path.exists():
            return {}
        try:
            text = path.read_text(encoding="utf-8")
            lines = text[: text.rfind("\n") + 1].splitlines()
            header, *rows = csv.reader(lines) if lines else [["step"]]
            table = np.array([[float(entry) for entry in row] for row in rows])
            columns = table.reshape(-1, len(header)).T
            if header[0] != "step" or len(columns[0]) != len(rows):
                raise ValueError("no column step")
        except (ValueError, IndexError, csv.Error) as error:
            raise InvalidInputError(f"{path}: is no table of metrics of sobirl") from error
        return dict(zip(header, columns, strict=True))


def is_run(path: Path) -> bool:
    """Whether a directory is one of sobirl's, complete or not."""
    try:
        read_config(path)
    except NewerRunError:
        return True
    except InvalidInputError:
        return False
    return True


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of a run.

    Raises:
        InvalidInputError: there is none, it is damaged, or comes from a newer sobirl.
    """
    if not (path / CONFIG).is_file():
        what = "is not a run directory of sobirl" if path.exists() else "there is no such run"
        raise InvalidInputError(f"{path}: {what}")
    config = _read_json(path / CONFIG)
    number, versions = config.get("format", 1), config.get("versions")
    if not isinstance(versions, dict) or "sobirl" not in versions or not isinstance(number, int):
        raise InvalidInputError(f"{path}: is not a run directory of sobirl")
    if number > FORMAT:
        raise NewerRunError(
            f"{path}: was made by the newer sobirl {versions['sobirl']} (format {number}, this "
            f"one reads up to {FORMAT}); upgrade sobirl"
        )
    for key, kind in (("problem", str), ("options", dict), ("inputs", dict)):
        if not isinstance(config.get(key), kind):
            raise InvalidInputError(f"{path / CONFIG}: has no usable entry {key!r}")
    for entry in config["inputs"].values():
        if not isinstance(entry, dict) or not {"path", "sha256"} <= entry.keys():
            raise InvalidInputError(f"{path / CONFIG}: has no usable entry 'inputs'")
    return config


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}: is damaged (no JSON)") from error
    if not isinstance(content, dict):
        raise InvalidInputError(f"{path}: is damaged (not a JSON object)")
    return content
