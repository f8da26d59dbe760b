"""A reward for being where one has not been: what a follower learns before there are labels."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Num

from sobirl.core.errors import InvalidInputError
from sobirl.deep.networks import scaled
from sobirl.experience.replay import Replay, ReplayState

POOL = 1024
_TINY = 1e-6


class Novelty(eqx.Module):
    """log(1 + d) of the distance d from a state to the k-th nearest of a pool, in units of its own.

    Following it a policy maximizes an estimate of the entropy of the states that it visits.
    Distances are Euclidean, between observations whose every entry is divided by its standard
    deviation in the pool; the unit is the standard deviation of log(1 + d) over the pool.

    Args:
        pool: observations that were made, their frames stacked (M,*obs).
        neighbors: k.

    Raises:
        InvalidInputError: k is not between 1 and M - 1.

    Source: Lee, Smith, Abbeel (2021), "PEBBLE", section 4.1, after Liu and Abbeel (2021), who add
    the 1; the pool stands for the whole replay, and the division of entries is ours.
    """

    pool: Float[Array, "M D"]
    spread: Float[Array, "D"]
    unit: Float[Array, ""]
    neighbors: int = eqx.field(static=True)

    def __init__(self, pool: Num[Array, "M *obs"], neighbors: int = 5):
        if not 1 <= neighbors < len(pool):
            raise InvalidInputError(
                f"neighbors: must be between 1 and {len(pool) - 1}, got {neighbors}"
            )
        flat = scaled(pool).reshape(len(pool), -1)
        spread = jnp.std(flat, axis=0)
        self.spread = jnp.where(spread > _TINY, spread, 1.0)
        self.pool, self.neighbors, self.unit = flat / self.spread, neighbors, jnp.ones(())
        within = self._surprise(self.pool, neighbors + 1)  # every state is its own nearest
        self.unit = jnp.maximum(jnp.std(within), _TINY)

    @classmethod
    def of_replay(
        cls, replay: Replay, state: ReplayState, key: Key[Array, ""], neighbors: int = 5
    ) -> "Novelty":
        """By what a replay holds at present."""
        transitions = dataclasses.replace(replay, batch_size=POOL).sample(state, key)
        return cls(transitions.observation, neighbors)

    def __call__(
        self, observation: Num[Array, "B *obs"], action: Num[Array, "B *d"]
    ) -> Float[Array, "B"]:
        """How new every observation is; the actions do not matter."""
        flat = scaled(observation).reshape(len(observation), -1) / self.spread
        return self._surprise(flat, self.neighbors) / self.unit

    def _surprise(self, flat, number):
        squares = jnp.sum(flat**2, axis=1)[:, None] + jnp.sum(self.pool**2, axis=1)
        distances = squares - 2 * flat @ self.pool.T
        nearest = -jax.lax.top_k(-distances, number)[0][:, -1]
        return jnp.log1p(jnp.sqrt(jnp.maximum(nearest, 0)))
