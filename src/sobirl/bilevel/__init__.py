"""Bilevel problems, the outer loop, and a check of the gradients."""

from typing import TYPE_CHECKING

from sobirl.core.lazy import lazy_names

_MODULES = {
    "BilevelProblem": "problem",
    "Checkpoint": "checkpoint",
    "GeometricContinuation": "continuation",
    "GradientCheck": "gradient_check",
    "NewtonResult": "newton",
    "Projection": "projections",
    "Recorder": "recorder",
    "Result": "result",
    "SuccessiveHalving": "rounds",
    "box": "projections",
    "budget": "projections",
    "check_gradients": "gradient_check",
    "minimize": "minimization",
    "minimize_newton": "newton",
    "scalar_adam": "optimizers",
    "simplex": "projections",
}

if TYPE_CHECKING:
    from sobirl.bilevel import projections as projections
    from sobirl.bilevel.checkpoint import Checkpoint as Checkpoint
    from sobirl.bilevel.continuation import GeometricContinuation as GeometricContinuation
    from sobirl.bilevel.gradient_check import GradientCheck as GradientCheck
    from sobirl.bilevel.gradient_check import check_gradients as check_gradients
    from sobirl.bilevel.minimization import minimize as minimize
    from sobirl.bilevel.newton import NewtonResult as NewtonResult
    from sobirl.bilevel.newton import minimize_newton as minimize_newton
    from sobirl.bilevel.optimizers import scalar_adam as scalar_adam
    from sobirl.bilevel.problem import BilevelProblem as BilevelProblem
    from sobirl.bilevel.projections import Projection as Projection
    from sobirl.bilevel.projections import box as box
    from sobirl.bilevel.projections import budget as budget
    from sobirl.bilevel.projections import simplex as simplex
    from sobirl.bilevel.recorder import Recorder as Recorder
    from sobirl.bilevel.result import Result as Result
    from sobirl.bilevel.rounds import SuccessiveHalving as SuccessiveHalving
else:
    __all__ = sorted([*_MODULES, "projections"])
    # The outer loop's interrupts and checkpoints are wanted where JAX is not.
    __getattr__, __dir__ = lazy_names(
        __name__,
        {name: f"{__name__}.{module}" for name, module in _MODULES.items()},
        submodules=("projections",),
    )
