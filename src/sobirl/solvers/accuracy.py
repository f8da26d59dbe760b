"""How far a value and its policy can be from the solution, from one Bellman backup."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sobirl.core.response import Response
from sobirl.mdp.soft_mdp import SoftMDP


class Accuracy(eqx.Module):
    """A Bellman residual and the rigorous bounds that follow from it, with their round-off floors.

    Attributes:
        residual: ‖T V - V‖_∞.
        value_bound: bound of ‖T V - V*‖_∞.
        policy_bound: bound of max |log π - log π*|, π the soft-greedy policy of T V.
        scale: the largest entry of |V| and |r|, to which tolerances are relative.
        value_floor: the value bound that rounding alone can cause.
        policy_floor: likewise for the policy.
    """

    residual: Float[Array, ""]
    value_bound: Float[Array, ""]
    policy_bound: Float[Array, ""]
    scale: Float[Array, ""]
    value_floor: Float[Array, ""]
    policy_floor: Float[Array, ""]

    def meets(
        self, rtol: float | Float[Array, ""], policy_tolerance: float | Float[Array, ""]
    ) -> Bool[Array, ""]:
        """Whether both bounds are within the tolerances or within what rounding allows."""
        value_goal, policy_goal = self.goals(rtol, policy_tolerance)
        return (self.value_bound <= value_goal) & (self.policy_bound <= policy_goal)

    def goals(
        self, rtol: float | Float[Array, ""], policy_tolerance: float | Float[Array, ""]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """What the two bounds have to reach."""
        value_goal = jnp.maximum(rtol * self.scale, self.value_floor)
        return value_goal, jnp.maximum(policy_tolerance, self.policy_floor)


def measure_accuracy(
    mdp: SoftMDP,
    value: Float[Array, "S"],
    response: Response,
    total_discount: Float[Array, "S A"],
) -> Accuracy:
    """Bounds for the backup `response = mdp.respond(value)`.

    With D = T V - V and a uniform discount, V* - T V lies between γ min D/(1-γ) and
    γ max D/(1-γ) (MacQueen). A constant shift of V leaves the policy unchanged, so that the policy
    is bounded with the *span* of that interval: often far below the bound of the value itself.
    Where the discount varies between states and actions only the maximum norm is a bound.
    """
    change = response.value - value
    residual = jnp.max(jnp.abs(change))
    discount = jnp.max(total_discount)
    amplification = discount / (1 - discount)
    uniform = mdp.discount.ndim == 0
    span = jnp.max(change) - jnp.min(change) if uniform else 2 * residual
    # Rows of P that sum to 1 only nearly spread even a constant error.
    span = span + residual * (discount - jnp.min(total_discount) if uniform else 0.0)

    scale = jnp.maximum(jnp.max(jnp.abs(response.value)), jnp.max(jnp.abs(mdp.reward)))
    rounding = 16 * jnp.finfo(value.dtype).eps * scale
    return Accuracy(
        residual=residual,
        value_bound=amplification * residual,
        policy_bound=discount * amplification * span / mdp.temperature,
        scale=scale,
        value_floor=amplification * rounding,
        policy_floor=2 * discount * amplification * rounding / mdp.temperature,
    )
