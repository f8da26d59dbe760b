"""Solving soft MDPs and evaluating policies, differentiably."""

from sobirl.solve.adjoint import Adjoint, Implicit, Pullback, Unrolled, pull_back
from sobirl.solve.evaluation import occupancy, policy_return, policy_value
from sobirl.solve.linear import LU
from sobirl.solve.solve import Solution, Stats, solve, solve_with_factors
from sobirl.solve.solvers import PolicyIteration, Solver, ValueIteration

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
