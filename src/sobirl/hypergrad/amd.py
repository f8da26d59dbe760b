"""AMD: differentiate through a few soft Q updates."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.hypergrad.base import ContextProblem, HypergradMethod
from sobirl.hypergrad.methods import METHODS, Needs


class AMD(HypergradMethod):
    """Adaptive mechanism design: the follower's T last soft Q updates are unrolled.

    V ← τ log Σ_a exp((r_x + γPV)/τ), T times from where the last outer step ended; the derivative
    of f at the policy that results is that of these T updates, their start held fixed.

    Args:
        updates: T.

    Metrics: `objective` (f at the current policy), `residual` (‖TV - V‖_∞ after the updates),
    `status` (only whether all is finite).

    Bias: at most of order γ^T, from what happened before the updates, and the follower's distance
    from its optimum. Memory grows with T·S·A.

    Source: Yang et al. (2022), adaptive mechanism design, in the form that Thoma et al. (2024)
    compare with. Theirs carries tables of ∂Q/∂x, of S·A·n numbers, from step to step; here nothing
    of that size is formed, and what they carry is cut off.
    """

    updates: int = eqx.field(default=100, static=True)

    needs: ClassVar[Needs] = METHODS["amd"].needs

    def __check_init__(self):
        if self.updates < 1:
            raise InvalidInputError(f"updates: must be at least 1, got {self.updates}")

    def begin(self, problem: ContextProblem, x: PyTree, key: Key[Array, ""]) -> Float[Array, "S"]:
        """V = 0."""
        return jnp.zeros_like(problem.mdp(x).initial)

    def estimate_one(
        self,
        problem: ContextProblem,
        x: PyTree,
        state: Float[Array, "S"],
        key: Key[Array, ""],
    ) -> tuple[Float[Array, ""], PyTree, Float[Array, "S"], dict[str, Array]]:
        """The derivative through the next T updates."""

        def objective(x):
            mdp = problem.mdp(x)
            after, _ = jax.lax.scan(
                lambda v, _: (mdp.soft_value(mdp.action_value(v)), None),
                state,
                length=self.updates - 1,
            )
            # The policy is that of the last update.
            response = mdp.respond(after)
            residual = jnp.max(jnp.abs(response.value - after))
            return problem.upper(x, response), (response.value, residual)

        (objective, (value, residual)), gradient = jax.value_and_grad(objective, has_aux=True)(x)
        return objective, gradient, value, {"residual": residual}
