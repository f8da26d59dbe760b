"""Methods: ways to get the hyper-gradient, one file each; `methods.py` has the table of all."""

from typing import TYPE_CHECKING

from sobirl.core.lazy import lazy_names
from sobirl.hypergrad.methods import METHODS, MethodEntry, Needs, as_method, methods_for

_MODULES = {
    **dict(entry.where.split(":")[::-1] for entry in METHODS.values()),
    "HypergradMethod": "sobirl.hypergrad.base",
    "LeaderReturn": "sobirl.hypergrad.leader_return",
    "Trajectories": "sobirl.hypergrad.trajectory_loss",
    "TrajectoryLoss": "sobirl.hypergrad.trajectory_loss",
    "tail_horizon": "sobirl.hypergrad.stoc_sobirl",
}

if TYPE_CHECKING:
    from sobirl.hypergrad.base import HypergradMethod as HypergradMethod
    from sobirl.hypergrad.leader_return import LeaderReturn as LeaderReturn
    from sobirl.hypergrad.methods import *  # noqa: F403
    from sobirl.hypergrad.stoc_sobirl import tail_horizon as tail_horizon
    from sobirl.hypergrad.trajectory_loss import Trajectories as Trajectories
    from sobirl.hypergrad.trajectory_loss import TrajectoryLoss as TrajectoryLoss
else:
    __all__ = ["METHODS", "MethodEntry", "Needs", "as_method", "methods_for", *sorted(_MODULES)]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
