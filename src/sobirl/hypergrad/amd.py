"""AMD: differentiate through a few soft Q updates."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.core.protocols import Problem
from sobirl.core.status import Status
from sobirl.hypergrad.requirements import soft_mdp


class AMD(eqx.Module):
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

    objective_is_exact: ClassVar[bool] = False

    def __check_init__(self):
        if self.updates < 1:
            raise InvalidInputError(f"updates: must be at least 1, got {self.updates}")

    def init(self, problem: Problem, x: PyTree, key: Key[Array, ""]) -> Float[Array, "*C S"]:
        """V = 0."""
        return problem.each_context(
            lambda context: jnp.zeros_like(soft_mdp("AMD", problem, x, context).initial)
        )

    def estimate(
        self, problem: Problem, x: PyTree, state: Float[Array, "*C S"], key: Key[Array, ""]
    ) -> tuple[PyTree, Float[Array, "*C S"], dict[str, Array]]:
        """The derivative through the next T updates."""

        def one(context, value):
            def objective(x):
                mdp = soft_mdp("AMD", problem, x, context)
                after, _ = jax.lax.scan(
                    lambda v, _: (mdp.soft_value(mdp.action_value(v)), None),
                    value,
                    length=self.updates - 1,
                )
                # The policy is that of the last update.
                response = mdp.respond(after)
                residual = jnp.max(jnp.abs(response.value - after))
                return problem.upper(x, response, context), (response.value, residual)

            (objective, (value, residual)), gradient = jax.value_and_grad(objective, has_aux=True)(
                x
            )
            return objective, gradient, value, residual

        objectives, gradients, value, residual = problem.each_context(one, state)
        objective, hypergradient = problem.average((objectives, gradients))
        finite = jnp.isfinite(objective)
        metrics = {
            "objective": objective,
            "residual": jnp.max(residual),
            "status": jnp.where(finite, Status.CONVERGED, Status.NOT_FINITE).astype(jnp.int32),
        }
        return hypergradient, value, metrics
