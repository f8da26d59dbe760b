"""Your own problem: incentives for an agent that is given by tables of transitions and rewards.

The follower earns reward(s,a) + features(s,a)·x, and what it does is worth to the leader

    leader_reward(s,a) - transfer · features(s,a)·x

`transfer` is the share of x's effect that the leader pays: 1 where subsidies are paid out and tolls
are earned, 0 where incentives cost nothing. The leader chooses x to maximize its discounted return.
`load` reads such a problem from files or a folder (`csv_files`, `npz_files` and `folders` say what
they hold), `write_csv` and `write_folder` write them, `example` is one.
"""

from sobirl.problems.tabular.example import example
from sobirl.problems.tabular.files import load, write_csv
from sobirl.problems.tabular.folders import write_folder
from sobirl.problems.tabular.problem import Tabular, transition_operator

__all__ = ["Tabular", "example", "load", "transition_operator", "write_csv", "write_folder"]
