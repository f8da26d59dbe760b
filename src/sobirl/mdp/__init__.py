"""The soft MDP: its data, its Bellman backup, its transition operators and rollouts."""

from sobirl.mdp.rollouts import Rollout, rollout
from sobirl.mdp.soft_mdp import SoftMDP, reward_table
from sobirl.mdp.transition import Dense, SuccessorList, TransitionOperator

__all__ = [
    "Dense",
    "Rollout",
    "SoftMDP",
    "SuccessorList",
    "TransitionOperator",
    "reward_table",
    "rollout",
]
