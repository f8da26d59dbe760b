"""Bilevel reinforcement learning in JAX.

Choose the parameters of a reward, an incentive or an environment so that the policy an agent
learns in response does what you want:

    minimize over x    φ(x) = f(x, π*(x))                       (the leader)
    subject to         π*(x) = argmax_π V^π of a soft MDP(x)    (the follower)

Compute in float64: call `jax.config.update("jax_enable_x64", True)` first.
"""

from typing import TYPE_CHECKING

from sobirl.core.lazy import lazy_names
from sobirl.core.version import __version__ as __version__
from sobirl.hypergrad import methods as _methods

# Public name -> where it comes from. Nothing is loaded before it is asked for, JAX least of all.
_PUBLIC = {
    "sobirl.bilevel": (
        "BilevelProblem",
        "Checkpoint",
        "GeometricContinuation",
        "GradientCheck",
        "NewtonResult",
        "Projection",
        "Recorder",
        "Result",
        "SuccessiveHalving",
        "box",
        "budget",
        "check_gradients",
        "minimize",
        "minimize_newton",
        "projections",
        "scalar_adam",
        "simplex",
    ),
    "sobirl.core": ("ConvergenceError", "InvalidInputError", "Response", "SobirlError", "Status"),
    "sobirl.core.protocols": ("LowerLevel", "Method"),
    "sobirl.estimation": (
        "Bins",
        "ChoiceResult",
        "Demonstrations",
        "DiscreteChoice",
        "Frequencies",
        "IRLResult",
        "Increments",
        "MaximumLikelihoodIRL",
        "Quantiles",
    ),
    "sobirl.experiments.incentives.designing": ("DesignedIncentives", "design_incentives"),
    "sobirl.experiments.loading": ("LoadedRun", "load_run"),
    "sobirl.hypergrad": (
        "HypergradMethod",
        "LeaderReturn",
        "MethodEntry",
        "Needs",
        "Trajectories",
        "TrajectoryLoss",
        "tail_horizon",
        *_methods.class_names(),
    ),
    "sobirl.hypergrad.methods": ("METHODS",),
    "sobirl.mdp": (
        "Dense",
        "FunctionTransition",
        "PostDecision",
        "Product",
        "Rollout",
        "SoftMDP",
        "SuccessorList",
        "TransitionOperator",
        "load_mdp",
        "pad_states",
        "rollout",
        "save_mdp",
        "shard_batch",
        "shard_states",
    ),
    "sobirl.runs.record": ("record",),
    "sobirl.solvers": (
        "Auto",
        "AutoLinear",
        "DenseLU",
        "EntropyLQR",
        "GaussianResponse",
        "Implicit",
        "Kronecker",
        "Krylov",
        "LinearSolver",
        "PolicyIteration",
        "Solution",
        "SparseLU",
        "Sweeping",
        "Unrolled",
        "ValueIteration",
        "occupancy",
        "policy_return",
        "policy_value",
        "solve",
    ),
}

if TYPE_CHECKING:
    from sobirl import problems as problems
    from sobirl.bilevel import *
    from sobirl.core import *
    from sobirl.core.protocols import LowerLevel as LowerLevel
    from sobirl.core.protocols import Method as Method
    from sobirl.estimation import *
    from sobirl.experiments.incentives.designing import DesignedIncentives as DesignedIncentives
    from sobirl.experiments.incentives.designing import design_incentives as design_incentives
    from sobirl.experiments.loading import LoadedRun as LoadedRun
    from sobirl.experiments.loading import load_run as load_run
    from sobirl.hypergrad import *
    from sobirl.mdp import *
    from sobirl.runs.record import record as record
    from sobirl.solvers import *
else:
    _MODULES = {name: module for module, names in _PUBLIC.items() for name in names}
    __all__ = sorted([*_MODULES, "problems"])
    __getattr__, __dir__ = lazy_names(__name__, _MODULES, submodules=("problems",))
