"""Methods: ways to get the hyper-gradient, one file each."""

from sobirl.hypergrad.advantage_trace import AdvantageTrace
from sobirl.hypergrad.amd import AMD
from sobirl.hypergrad.bchg import BCHG
from sobirl.hypergrad.exact import Exact
from sobirl.hypergrad.hpgd import HPGD
from sobirl.hypergrad.leader_return import LeaderReturn
from sobirl.hypergrad.m_sobirl import MSoBiRL
from sobirl.hypergrad.naive import Naive
from sobirl.hypergrad.pbrl import PBRL
from sobirl.hypergrad.plug_in import PlugIn
from sobirl.hypergrad.sobirl import SoBiRL
from sobirl.hypergrad.stoc_sobirl import StocSoBiRL, tail_horizon
from sobirl.hypergrad.trajectory_loss import Trajectories, TrajectoryLoss
from sobirl.hypergrad.zero_order import ZeroOrder

__all__ = [
    "AMD",
    "BCHG",
    "HPGD",
    "PBRL",
    "AdvantageTrace",
    "Exact",
    "LeaderReturn",
    "MSoBiRL",
    "Naive",
    "PlugIn",
    "SoBiRL",
    "StocSoBiRL",
    "Trajectories",
    "TrajectoryLoss",
    "ZeroOrder",
    "tail_horizon",
]
