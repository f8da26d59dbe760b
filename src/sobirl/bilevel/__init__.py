"""Bilevel problems, the outer loop, and a check of the gradients."""

from sobirl.bilevel.check_gradients import GradientCheck, check_gradients
from sobirl.bilevel.continuation import GeometricContinuation
from sobirl.bilevel.minimize import minimize
from sobirl.bilevel.newton import NewtonResult, minimize_newton
from sobirl.bilevel.optimizers import scalar_adam
from sobirl.bilevel.problem import BilevelProblem
from sobirl.bilevel.projections import Projection, box, budget, simplex
from sobirl.bilevel.recorder import Recorder
from sobirl.bilevel.result import Result
from sobirl.bilevel.rounds import SuccessiveHalving

__all__ = [
    "BilevelProblem",
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
    "scalar_adam",
    "simplex",
]
