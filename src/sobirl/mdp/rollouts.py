"""Simulated trajectories of a tabular MDP, as one compiled scan."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from sobirl.core.checks import check, check_shape
from sobirl.core.errors import InvalidInputError
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


def rollout(
    mdp: SoftMDP,
    log_policy: Float[Array | np.ndarray, "..."],
    key: Key[Array, ""],
    num_steps: int | np.integer,
    num_episodes: int | np.integer = 1,
) -> Rollout:
    """Trajectories of `log_policy` (log π, for example `solve(mdp).log_policy`) from ρ.

    Args:
        mdp: the process; its reward and discount are recorded along the way.
        log_policy: log action probabilities (S,A).
        key: a typed JAX key; the same key gives the same trajectories.
        num_steps: T, the length of every trajectory.
        num_episodes: N, the number of trajectories.

    Raises:
        InvalidInputError: `log_policy` has another shape or is no log of probabilities, or a
            number is below 1.
    """
    check_shape("log_policy", log_policy, mdp.shape)
    if not isinstance(log_policy, jax.core.Tracer):
        sums = np.exp(np.asarray(log_policy, np.float64)).sum(axis=-1)
        close = np.abs(sums - 1) <= 1e-4
        check("log_policy", sums, close, "exp(log_policy) must sum to 1 in every state")
    for name, count in (("num_steps", num_steps), ("num_episodes", num_episodes)):
        if count < 1:
            raise InvalidInputError(f"{name}: must be at least 1, got {count}")
    return _rollout(mdp, jnp.asarray(log_policy), key, int(num_steps), int(num_episodes))


@eqx.filter_jit
def _rollout(mdp, log_policy, key, num_steps, num_episodes) -> Rollout:
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
