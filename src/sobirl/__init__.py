"""Bilevel reinforcement learning in JAX.

Choose the parameters of a reward, an incentive or an environment so that the policy an agent
learns in response does what you want:

    minimize over x    φ(x) = f(x, π*(x))                       (the leader)
    subject to         π*(x) = argmax_π V^π of a soft MDP(x)    (the follower)

Compute in float64: call `jax.config.update("jax_enable_x64", True)` first.
"""

from sobirl import problems
from sobirl.bilevel import (
    BilevelProblem,
    GeometricContinuation,
    GradientCheck,
    Projection,
    Recorder,
    Result,
    box,
    budget,
    check_gradients,
    minimize,
    projections,
    scalar_adam,
    simplex,
)
from sobirl.core import ConvergenceError, InvalidInputError, Response, SobirlError, Status
from sobirl.hypergrad import (
    AMD,
    BCHG,
    HPGD,
    PBRL,
    AdvantageTrace,
    Exact,
    LeaderReturn,
    MSoBiRL,
    Naive,
    PlugIn,
    SoBiRL,
    StocSoBiRL,
    Trajectories,
    TrajectoryLoss,
    ZeroOrder,
    tail_horizon,
)
from sobirl.mdp import Dense, Rollout, SoftMDP, SuccessorList, TransitionOperator, rollout
from sobirl.solve import (
    Implicit,
    PolicyIteration,
    Solution,
    Unrolled,
    ValueIteration,
    occupancy,
    policy_return,
    policy_value,
    solve,
)

__version__ = "0.1.0"

__all__ = [
    "AMD",
    "BCHG",
    "HPGD",
    "PBRL",
    "AdvantageTrace",
    "BilevelProblem",
    "ConvergenceError",
    "Dense",
    "Exact",
    "GeometricContinuation",
    "GradientCheck",
    "Implicit",
    "InvalidInputError",
    "LeaderReturn",
    "MSoBiRL",
    "Naive",
    "PlugIn",
    "PolicyIteration",
    "Projection",
    "Recorder",
    "Response",
    "Result",
    "Rollout",
    "SoBiRL",
    "SobirlError",
    "SoftMDP",
    "Solution",
    "Status",
    "StocSoBiRL",
    "SuccessorList",
    "Trajectories",
    "TrajectoryLoss",
    "TransitionOperator",
    "Unrolled",
    "ValueIteration",
    "ZeroOrder",
    "box",
    "budget",
    "check_gradients",
    "minimize",
    "occupancy",
    "policy_return",
    "policy_value",
    "problems",
    "projections",
    "rollout",
    "scalar_adam",
    "simplex",
    "solve",
    "tail_horizon",
]
