"""The follower's response, as the leader's objective sees it."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float


class Response(eqx.Module):
    """What the follower answers: its value, action value and policy in S states and A actions."""

    value: Float[Array, "S"]
    q: Float[Array, "S A"]
    log_policy: Float[Array, "S A"]

    @property
    def policy(self) -> Float[Array, "S A"]:
        """Action probabilities π(a|s)."""
        return jnp.exp(self.log_policy)

    def normalized(self) -> "Response":
        """The same, with a policy that sums to 1 where that of one backup does so but for rounding.

        The rounding of V/τ grows with 1/τ; with policies that sum to 1/γ the policy system is
        singular.
        """
        excess = jax.lax.stop_gradient(logsumexp(self.log_policy, axis=-1, keepdims=True))
        return Response(self.value, self.q, self.log_policy - excess)
