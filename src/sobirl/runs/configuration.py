"""`config.json`: all that is needed to repeat a run."""

import dataclasses
import hashlib
import importlib.metadata
import json
import platform
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sobirl.core.errors import InvalidInputError
from sobirl.core.version import __version__
from sobirl.runs.decoding import decode, encode, typed
from sobirl.runs.files import plain
from sobirl.runs.inputs import file_in, moved
from sobirl.runs.options import RunOptions

if TYPE_CHECKING:
    from sobirl.runs.saved import SavedRun

Options = TypeVar("Options", bound=RunOptions)

FORMAT = 2  # 1 had other names of options
_PACKAGES = ("jax", "jaxlib", "equinox", "optax", "numpy", "scipy")


def configuration(options: RunOptions) -> dict:
    """Every option, the command that gives them, the input files, and the versions."""
    return {
        "format": FORMAT,
        "problem": options.problem,
        "command": shlex.join(options.command),
        **options.program,
        "options": encode(options),
        "inputs": {
            name: {"path": str(path.resolve()), "sha256": sha256(path)}
            for name, value in vars(options).items()
            if (path := file_in(value)) is not None and path.is_file()
        },
        "versions": versions(),
    }


def fingerprint(options: RunOptions, config: dict) -> str:
    """What the steps of a run depend on; a checkpoint belongs to the run that has the same."""
    chosen = {
        field.name: config["options"][field.name]
        for field in dataclasses.fields(options)
        if not field.metadata.get("aside") and field.name in config["options"]
    }
    inputs = {name: entry["sha256"] for name, entry in config["inputs"].items()}
    text = json.dumps(plain([config["problem"], chosen, inputs]), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def options_of(run: "SavedRun", kind: type[Options]) -> Options:
    """The options with which a run began, for going on with it.

    Raises:
        InvalidInputError: its configuration does not fit this sobirl, or an input file is gone or
            has changed.
    """
    config = run.path / "config.json"
    if run.config.get("format", 1) < FORMAT:
        made_by = run.config["versions"]["sobirl"]
        raise InvalidInputError(
            f"{config}: is of sobirl {made_by}, whose options had other names; only that version "
            "can go on with the run"
        )
    given = run.config["options"]
    inputs = {
        name: moved(given.get(name), _input(name, entry))
        for name, entry in run.config["inputs"].items()
    }
    values = {**given, **inputs, "out": run.path, "force": False}
    try:
        return decode(kind, values)
    except InvalidInputError as error:
        raise InvalidInputError(f"{config}: {error}") from error


def _input(name: str, entry: dict) -> Path:
    path = Path(str(entry["path"]))
    if not path.is_file():
        raise InvalidInputError(f"{typed(name)} {path}: is gone; the run cannot go on without it")
    if sha256(path) != entry["sha256"]:
        raise InvalidInputError(
            f"{typed(name)} {path}: has changed since the run began; start a new run with it"
        )
    return path


def versions() -> dict[str, str]:
    """The versions that decide which numbers come out."""
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), "sobirl": __version__, **packages}


def sha256(path: Path) -> str:
    """The fingerprint of a file's contents."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
