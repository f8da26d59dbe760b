"""The follower's response, solved from where the last outer step left it."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobirl.mdp import SoftMDP
from sobirl.solvers import Implicit, Solution, Solver, solve_with_state
from sobirl.solvers.linear import State


class WarmStart(eqx.Module):
    """Where the next lower level starts: the last one's value, and what its linear solver knows."""

    value: Float[Array, "*C S"]
    linear: State

    @classmethod
    def cold(cls, mdp: SoftMDP, solver: Solver) -> "WarmStart":
        """Zero values, before the first solve."""
        value = jnp.zeros(mdp.shape[0], mdp.reward.dtype)
        system = mdp.policy_system(jnp.zeros_like(mdp.reward))
        return cls(value, solver.resolve(mdp).linear_solver.init(system))

    def solve(self, mdp: SoftMDP, solver: Solver) -> tuple[Solution, "WarmStart"]:
        """The response, which may have missed its tolerance (see `Solution.status`)."""
        solution, linear = solve_with_state(mdp, solver, Implicit(), self.value, self.linear)
        return solution, WarmStart(solution.value, linear)
