"""The soft MDP: its data, its Bellman backup, its transition operators and rollouts."""

from sobirl.mdp.files import load_mdp, save_mdp
from sobirl.mdp.policy_system import PolicySystem
from sobirl.mdp.rollouts import Rollout, rollout
from sobirl.mdp.sharding import pad_states, shard_batch, shard_states
from sobirl.mdp.soft_mdp import SoftMDP, reward_table
from sobirl.mdp.transitions import (
    Dense,
    FunctionTransition,
    PostDecision,
    Product,
    SuccessorList,
    TransitionOperator,
)

__all__ = [
    "Dense",
    "FunctionTransition",
    "PolicySystem",
    "PostDecision",
    "Product",
    "Rollout",
    "SoftMDP",
    "SuccessorList",
    "TransitionOperator",
    "load_mdp",
    "pad_states",
    "reward_table",
    "rollout",
    "save_mdp",
    "shard_batch",
    "shard_states",
]
