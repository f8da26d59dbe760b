"""The experiments of the command line, by problem name."""

from sobirl.runs.four_rooms import FourRoomsRun
from sobirl.runs.options import RunOptions
from sobirl.runs.random_mdp import RandomMDPRun
from sobirl.runs.rust_bus import RustBusRun

EXPERIMENTS: dict[str, type[RunOptions]] = {
    experiment.problem: experiment for experiment in (FourRoomsRun, RandomMDPRun, RustBusRun)
}
