"""The experiments of the command line, by problem name."""

from pathlib import Path

from sobirl.core.errors import InvalidInputError
from sobirl.runs.arguments import from_arguments, to_arguments
from sobirl.runs.configuration import sha256
from sobirl.runs.four_rooms import FourRoomsRun
from sobirl.runs.options import RunOptions
from sobirl.runs.random_mdp import RandomMDPRun
from sobirl.runs.rlhf import RLHFRun
from sobirl.runs.rust_bus import RustBusRun
from sobirl.runs.saved import CONFIG, SavedRun
from sobirl.runs.tabular import TabularRun

EXPERIMENTS: dict[str, type[RunOptions]] = {
    experiment.problem: experiment
    for experiment in (FourRoomsRun, RandomMDPRun, RLHFRun, RustBusRun, TabularRun)
}


def options_of(run: SavedRun) -> RunOptions:
    """The options with which a run began, for going on with it.

    Raises:
        InvalidInputError: its configuration does not fit this sobirl, or an input file is gone or
            has changed.
    """
    config = run.path / CONFIG
    if run.problem not in EXPERIMENTS:
        raise InvalidInputError(f"{config}: this sobirl has no problem {run.problem!r}")
    experiment = EXPERIMENTS[run.problem]
    inputs = {name: _input(name, entry) for name, entry in run.config["inputs"].items()}
    values = {**run.config["options"], **inputs, "out": run.path, "force": False}
    try:
        return from_arguments(experiment, to_arguments(experiment, values))
    except InvalidInputError as error:
        raise InvalidInputError(f"{config}: {error}") from error


def _input(name: str, entry: dict) -> Path:
    path = Path(str(entry["path"]))
    if not path.is_file():
        raise InvalidInputError(f"--{name} {path}: is gone; the run cannot go on without it")
    if sha256(path) != entry["sha256"]:
        raise InvalidInputError(
            f"--{name} {path}: has changed since the run began; start a new run with it"
        )
    return path
