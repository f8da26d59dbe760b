"""The follower's response, as the leader's objective sees it."""

import equinox as eqx
import jax.numpy as jnp
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
