"""Solving soft MDPs and evaluating policies, differentiably."""

from sobirl.solvers.adjoint import Adjoint, Implicit, Pullback, Unrolled, pull_back
from sobirl.solvers.evaluation import occupancy, policy_return, policy_value
from sobirl.solvers.linear import LU
from sobirl.solvers.solution import Solution, Stats, solve, solve_with_factors
from sobirl.solvers.solvers import PolicyIteration, Solver, ValueIteration

__all__ = [
    "LU",
    "Adjoint",
    "Implicit",
    "PolicyIteration",
    "Pullback",
    "Solution",
    "Solver",
    "Stats",
    "Unrolled",
    "ValueIteration",
    "occupancy",
    "policy_return",
    "policy_value",
    "pull_back",
    "solve",
    "solve_with_factors",
]
