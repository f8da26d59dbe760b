"""`config.json`: all that is needed to repeat a run."""

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import platform
import shlex
from pathlib import Path

from sobirl.runs.arguments import to_arguments
from sobirl.runs.files import plain
from sobirl.runs.options import RunOptions

FORMAT = 1
_PACKAGES = ("sobirl", "jax", "jaxlib", "equinox", "optax", "numpy", "scipy")


def configuration(options: RunOptions) -> dict:
    """Every option, the command that gives them, the input files, and the versions."""
    chosen = dataclasses.asdict(options)
    own = {name: value for name, value in chosen.items() if name not in ("out", "force")}
    return {
        "format": FORMAT,
        "problem": options.problem,
        "command": shlex.join(["sobirl", "run", options.problem, *to_arguments(options, own)]),
        "options": {name: _storable(value) for name, value in chosen.items()},
        "inputs": {
            name: {"path": str(value.resolve()), "sha256": sha256(value)}
            for name, value in chosen.items()
            if isinstance(value, Path) and value.is_file()
        },
        "versions": versions(),
    }


def fingerprint(config: dict) -> str:
    """What the steps of a run depend on; a checkpoint belongs to the run that has the same."""
    aside = ("out", "force", "quiet", "tensorboard", "checkpoint_seconds")
    chosen = {name: value for name, value in config["options"].items() if name not in aside}
    inputs = {name: entry["sha256"] for name, entry in config["inputs"].items()}
    text = json.dumps(plain([config["problem"], chosen, inputs]), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _storable(value):
    """Infinities as text, which JSON has no numbers for; the options' parser reads it."""
    if isinstance(value, (list, tuple)):
        return [_storable(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def versions() -> dict[str, str]:
    """The versions that decide which numbers come out."""
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **packages}


def sha256(path: Path) -> str:
    """The fingerprint of a file's contents."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
