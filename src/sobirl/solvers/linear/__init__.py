"""Linear solvers of the policy system I - γP_π, and the choice among them."""

from sobirl.solvers.linear.auto import AutoLinear, SweepsFirst, direct_solver
from sobirl.solvers.linear.base import LinearSolution, LinearSolver, State, Work
from sobirl.solvers.linear.dense_lu import DenseLU
from sobirl.solvers.linear.differentiable import linear_solve
from sobirl.solvers.linear.kronecker import Kronecker
from sobirl.solvers.linear.krylov import Krylov
from sobirl.solvers.linear.sparse_lu import SparseLU
from sobirl.solvers.linear.sweeping import Sweeping

__all__ = [
    "AutoLinear",
    "DenseLU",
    "Kronecker",
    "Krylov",
    "LinearSolution",
    "LinearSolver",
    "SparseLU",
    "State",
    "Sweeping",
    "SweepsFirst",
    "Work",
    "direct_solver",
    "linear_solve",
]
