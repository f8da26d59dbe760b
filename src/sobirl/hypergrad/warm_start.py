"""The follower's response, solved from where the last outer step left it."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobirl.mdp import SoftMDP
from sobirl.solvers import LU, Implicit, Solution, Solver, solve_with_factors


class WarmStart(eqx.Module):
    """Where the next lower level starts: the last one's value, and its factors if it made any."""

    value: Float[Array, "*C S"]
    lu: LU | None

    @classmethod
    def cold(cls, mdp: SoftMDP, solver: Solver) -> "WarmStart":
        """Zero values, before the first solve."""
        value = jnp.zeros(mdp.shape[0], mdp.reward.dtype)
        lu = LU.identity(len(value), value.dtype) if solver.factorizes else None
        return cls(value, lu)

    def solve(self, mdp: SoftMDP, solver: Solver) -> tuple[Solution, "WarmStart"]:
        """The response, which may have missed its tolerance (see `Solution.status`)."""
        solution, lu = solve_with_factors(mdp, solver, Implicit(), self.value, self.lu)
        return solution, WarmStart(solution.value, lu)
