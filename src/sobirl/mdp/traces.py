"""Discounted sums along trajectories: the past of every step, and its future.

`first` marks the steps that begin an episode: nothing crosses from one to the next.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def discount_weights(
    discount: Float[Array, "N T"], first: Bool[Array, "N T"], start: Float[Array, "N"]
) -> Float[Array, "N T"]:
    """The product of the discounts of an episode's earlier steps, 1 where one begins.

    `start` is the product before the first step sampled, for episodes that began before it.
    """

    def step(weight, inputs):
        discount, first = inputs
        weight = jnp.where(first, 1.0, weight)
        return weight * discount, weight

    return jax.lax.scan(step, start, (discount.T, first.T))[1].T


def eligibility_trace(
    value: Float[Array, "N T"],
    discount: Float[Array, "N T"],
    first: Bool[Array, "N T"],
    start: Float[Array, "N"],
) -> Float[Array, "N T"]:
    """e_t = γ_{t-1} e_{t-1} + value_t: the discounted past of every step, itself included.

    `start` is γ_{t-1} e_{t-1} at the first step sampled.
    """

    def step(trace, inputs):
        value, discount, first = inputs
        trace = jnp.where(first, 0.0, trace) + value
        return trace * discount, trace

    return jax.lax.scan(step, start, (value.T, discount.T, first.T))[1].T


def return_to_go(
    reward: Float[Array, "N T"], discount: Float[Array, "N T"], first: Bool[Array, "N T"]
) -> Float[Array, "N T"]:
    """G_t = r_t + γ_t G_{t+1}: the discounted future of every step, up to the last one sampled."""

    def step(total, inputs):
        reward, discount, first = inputs
        total = reward + discount * total
        return jnp.where(first, 0.0, total), total

    start = jnp.zeros(len(reward), reward.dtype)
    return jax.lax.scan(step, start, (reward.T, discount.T, first.T), reverse=True)[1].T
