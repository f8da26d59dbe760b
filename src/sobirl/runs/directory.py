"""Run directories: written completely or not at all."""

import csv
import dataclasses
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import shutil
import tempfile
from pathlib import Path

import numpy as np

from sobirl.core.errors import InvalidInputError
from sobirl.runs.options import RunOptions
from sobirl.runs.outcome import Outcome

MARKER = "config.json"


def choose_directory(options: RunOptions) -> Path:
    """Where the run goes, checked before anything is computed.

    Raises:
        InvalidInputError: the directory exists and `--force` is not given, or is not a run
            directory (which `--force` never removes), or cannot be made there.
    """
    if options.out is None:
        number = 1
        while (path := Path("runs") / f"{options.problem}-{number}").exists():
            number += 1
    else:
        path = options.out.resolve()
    if path.exists():
        if not options.force:
            raise InvalidInputError(f"--out {path} exists; choose another or add --force")
        is_run = path.is_dir() and (path / MARKER).is_file() and (path / "summary.json").is_file()
        if not is_run:
            raise InvalidInputError(
                f"--out {path} is not a run directory of sobirl; --force does not remove it"
            )
        inputs = (value for value in vars(options).values() if isinstance(value, Path))
        if any(path in value.resolve().parents for value in inputs):
            raise InvalidInputError(f"--out {path} holds an input of this run; choose another")
    ancestor = next(parent for parent in path.absolute().parents if parent.exists())
    if not ancestor.is_dir() or not os.access(ancestor, os.W_OK):
        raise InvalidInputError(f"--out {path}: cannot write to {ancestor}")
    return path


def write_run(options: RunOptions, outcome: Outcome) -> Path:
    """Write `config.json`, `metrics.csv`, `summary.json` and `figures/` into a new directory.

    Everything is written next to it first and moved there in one step, so that a run directory is
    never seen half-written and an earlier run is lost only once its successor is complete. The
    directory is chosen anew, because another run may have taken it in the meantime.

    Raises:
        InvalidInputError: as for `choose_directory`.
    """
    path = choose_directory(options)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        draft.chmod(0o755)
        _write_json(draft / MARKER, configuration(options))
        _write_csv(draft / "metrics.csv", outcome.history)
        for name, text in outcome.files.items():
            (draft / name).write_text(text)
        (draft / "figures").mkdir()
        for name, draw in outcome.figures.items():
            draw().savefig(draft / "figures" / f"{name}.png", dpi=150)
        _write_json(draft / "summary.json", outcome.summary)
        if options.force and path.exists():
            shutil.rmtree(path)
        draft.rename(path)  # fails if there is another run by now
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return path


def configuration(options: RunOptions) -> dict:
    """All that is needed to repeat a run: every option, the input files, and the versions."""
    packages = ("sobirl", "jax", "jaxlib", "equinox", "optax", "numpy", "scipy")
    chosen = dataclasses.asdict(options)
    inputs = {
        name: {"path": str(value.resolve()), "sha256": _sha256(value)}
        for name, value in chosen.items()
        if isinstance(value, Path) and value.is_file()
    }
    return {
        "problem": options.problem,
        "options": chosen,
        "inputs": inputs,
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
        },
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")


def _plain(value):
    """`value` in the types that JSON has; NaN and infinities become null."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _write_csv(path: Path, history: dict[str, np.ndarray]) -> None:
    """One row a step, counted from 1, with every digit that the numbers have."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", *history])
        for step, row in enumerate(zip(*history.values(), strict=True), start=1):
            writer.writerow([step, *(repr(entry.item()) for entry in row)])
