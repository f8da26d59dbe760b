"""Discounted visits that follow upon a step, sampled without bias."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from sobirl.mdp.soft_mdp import SoftMDP
from sobirl.mdp.transitions import invert


def sample_visits_after(
    mdp: SoftMDP,
    policy: Float[Array, "S A"],
    key: Key[Array, ""],
    state: Int[Array, "K N"],
    action: Int[Array, "K N"],
    weight: Float[Array, "K N"],
    horizon: int | None = None,
) -> tuple[Float[Array, "S A"], Int[Array, ""]]:
    """Weighted visits of the steps after given ones, γ^k for the k-th, and the steps simulated.

    The mean is Σ weight Σ_{k≥1} γ^k P(s_k, a_k | s_0 = state, a_0 = action), up to k = `horizon`.
    Without a horizon every walk goes on with probability γ and then counts in full: geometric
    stopping, which leaves nothing out. The K walks of a column share their random numbers.

    Args:
        mdp: the process; its discount is γ.
        policy: action probabilities (S,A).
        key: a typed JAX key.
        state: where the walks begin (K,N).
        action: their first actions (K,N).
        weight: what a visit counts (K,N); negative ones are welcome.
        horizon: the most steps after the first; None for no limit.
    """
    cumulative = jnp.cumsum(policy, axis=-1)
    discount = jnp.broadcast_to(mdp.discount, mdp.shape)

    def unfinished(walks):
        limit = jnp.iinfo(jnp.int32).max if horizon is None else horizon
        return jnp.any(walks.weight != 0) & (walks.step < limit)

    def walk(walks):
        key, draw_key = jax.random.split(walks.key)
        draws = jax.random.uniform(draw_key, (3, state.shape[1]), weight.dtype)
        for_end, for_state, for_action = jnp.broadcast_to(draws[:, None], (3, *state.shape))
        keep = discount[walks.state, walks.action]
        kept = walks.weight * keep if horizon else jnp.where(for_end < keep, walks.weight, 0.0)
        next_state = mdp.transition.next_state(for_state, walks.state, walks.action)
        action = invert(cumulative[next_state], for_action).astype(walks.action.dtype)
        visits = walks.visits.at[next_state, action].add(kept)
        taken = walks.taken + jnp.sum(kept != 0, dtype=jnp.int32)
        return _Walks(key, next_state, action, kept, visits, taken, walks.step + 1)

    zero = jnp.zeros((), jnp.int32)
    start = _Walks(key, state, action, weight, jnp.zeros_like(mdp.reward), zero, zero)
    end = jax.lax.while_loop(unfinished, walk, start)
    return end.visits, end.taken


class _Walks(NamedTuple):
    key: Key[Array, ""]
    state: Int[Array, "K N"]
    action: Int[Array, "K N"]
    weight: Float[Array, "K N"]  # 0 once a walk has ended
    visits: Float[Array, "S A"]
    taken: Int[Array, ""]
    step: Int[Array, ""]
