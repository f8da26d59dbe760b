"""The bilevel problem of inverse reinforcement learning: who imitates, and how well.

The follower is the soft MDP with the reward r + r_x, the objective one of

    likelihood      -1/N Σ_n log π_x(a_n|s_n) + λ/2 ‖x‖²
    causal entropy  1/(τ W) Σ_i (V_x(s_0) - Σ_t Γ_t r_x(s_t,a_t)) + λ/2 ‖x‖²

with Γ_t the product of the discounts before step t and W the sum of all Γ_t. The second is the
first with the weights Γ_t and with what follows a step taken in the mean over P: its gradient is
the difference of discounted sums of ∇r between the policy and the demonstrations, so that for
rewards linear in features the minimum matches their expected counts (maximum causal entropy), and
it is convex. An episode that is cut off ends with Q_x of its last step in the place of r_x.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from sobirl.estimation.demonstrations import Tables
from sobirl.mdp import SoftMDP

OBJECTIVES = ("likelihood", "causal-entropy")


class LinearReward(eqx.Module):
    """r_x = φ x.

    Attributes:
        features: φ (S,k) or (S,A,k).
    """

    features: Float[Array | np.ndarray, "..."]

    def __call__(self, x: Float[Array | np.ndarray, "k"]) -> Float[Array, "..."]:
        """The table."""
        return jnp.asarray(self.features) @ jnp.asarray(x)


class Imitator(eqx.Module):
    """`follower(x)`: the soft MDP with the reward r + r_x.

    Attributes:
        mdp: everything else; r is what is known of the reward beforehand.
        reward: r_x.
        static: what in x is no number.
    """

    mdp: SoftMDP
    reward: Callable
    static: PyTree = eqx.field(static=True)

    def table(self, x: PyTree) -> Float[Array, "S A"]:
        """r_x."""
        found = jnp.asarray(self.reward(eqx.combine(x, self.static)))
        return jnp.broadcast_to(found[:, None] if found.ndim == 1 else found, self.mdp.shape)

    def __call__(self, x: PyTree) -> SoftMDP:
        """The lower level."""
        return eqx.tree_at(lambda m: m.reward, self.mdp, self.mdp.reward + self.table(x))


class Likelihood(eqx.Module):
    """The objective: of all decisions alike, or of episodes as maximum causal entropy has it."""

    tables: Tables
    reward: Float[Array, "S A"]
    temperature: Float[Array, ""]
    table: Callable
    penalty: Float[Array, ""]
    kind: str = eqx.field(static=True)

    def __call__(self, x: PyTree, response: Any) -> Float[Array, ""]:
        """Nats a decision, and λ/2 ‖x‖²."""
        size = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(x))
        tables = self.tables
        if self.kind == "likelihood":
            loss = mean_loss(tables, response.log_policy)
        else:
            reward = self.reward + self.table(x)
            earned = jnp.sum(tables.visits * reward) + jnp.sum(tables.last * response.q)
            weight = np.sum(tables.visits) + np.sum(tables.last)
            loss = (jnp.sum(tables.first * response.value) - earned) / (self.temperature * weight)
        return loss + self.penalty / 2 * size


def mean_loss(tables: Tables, log_policy: Float[Array, "S A"]) -> Float[Array, ""]:
    """-1/N Σ_n log π(a_n|s_n)."""
    counts = jnp.asarray(tables.counts)
    total = jnp.sum(counts * jnp.where(counts > 0, log_policy, 0.0))
    return -total / jnp.sum(counts)
