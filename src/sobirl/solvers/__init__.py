"""Solving soft MDPs and evaluating policies, differentiably."""

from sobirl.solvers.adjoint import Adjoint, Implicit, Pullback, Unrolled, pull_back
from sobirl.solvers.choice import as_solver
from sobirl.solvers.entropy_lqr import EntropyLQR, GaussianResponse
from sobirl.solvers.evaluation import occupancy, policy_return, policy_value
from sobirl.solvers.linear import (
    AutoLinear,
    DenseLU,
    Kronecker,
    Krylov,
    LinearSolution,
    LinearSolver,
    SparseLU,
    Sweeping,
)
from sobirl.solvers.solution import Solution, Stats, solve, solve_with_state
from sobirl.solvers.solvers import Auto, PolicyIteration, Solver, ValueIteration

__all__ = [
    "Adjoint",
    "Auto",
    "AutoLinear",
    "DenseLU",
    "EntropyLQR",
    "GaussianResponse",
    "Implicit",
    "Kronecker",
    "Krylov",
    "LinearSolution",
    "LinearSolver",
    "PolicyIteration",
    "Pullback",
    "Solution",
    "Solver",
    "SparseLU",
    "Stats",
    "Sweeping",
    "Unrolled",
    "ValueIteration",
    "as_solver",
    "occupancy",
    "policy_return",
    "policy_value",
    "pull_back",
    "solve",
    "solve_with_state",
]
