"""Simulated trajectories of a tabular MDP, as one compiled scan."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from sobirl.mdp.soft_mdp import SoftMDP


class Rollout(eqx.Module):
    """N trajectories of T steps. `weight` is the product of the discounts before each step.

    Σ_t weight_t reward_t is the discounted return; once an episode has ended (discount 0) the
    weight stays 0, so that later steps count for nothing.
    """

    state: Int[Array, "N T"]
    action: Int[Array, "N T"]
    reward: Float[Array, "N T"]
    next_state: Int[Array, "N T"]
    weight: Float[Array, "N T"]


@eqx.filter_jit
def rollout(
    mdp: SoftMDP,
    log_policy: Float[Array, "S A"],
    key: Key[Array, ""],
    num_steps: int,
    num_episodes: int = 1,
) -> Rollout:
    """Trajectories of `log_policy` (log π, for example `solve(mdp).log_policy`) from ρ.

    Args:
        mdp: the process; its reward and discount are recorded along the way.
        log_policy: log action probabilities (S,A).
        key: a typed JAX key; the same key gives the same trajectories.
        num_steps: T, the length of every trajectory.
        num_episodes: N, the number of trajectories.
    """
    discount = jnp.broadcast_to(mdp.discount, mdp.shape)

    def step(carry, key):
        state, weight = carry
        action_key, next_key = jax.random.split(key)
        action = jax.random.categorical(action_key, log_policy[state])
        next_state = mdp.transition.sample(next_key, state, action)
        record = (state, action, mdp.reward[state, action], next_state, weight)
        return (next_state, weight * discount[state, action]), record

    def episode(key):
        keys = jax.random.split(key, num_steps + 1)
        first = jax.random.categorical(keys[0], jnp.log(mdp.initial))
        carry = (first, jnp.ones((), mdp.reward.dtype))
        return jax.lax.scan(step, carry, keys[1:])[1]

    return Rollout(*jax.vmap(episode)(jax.random.split(key, num_episodes)))
