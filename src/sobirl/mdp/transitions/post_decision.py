"""Laws in which many states and actions lead to the same place, before chance has its say."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import BCOO
from jaxtyping import Array, Bool, Float, Int

from sobirl.core.checks import Numbers, as_float_array, check
from sobirl.core.errors import InvalidInputError
from sobirl.mdp.transitions.operator import TransitionOperator, check_rows, invert


class PostDecision(TransitionOperator):
    """P(s'|s,a) = K(s' | z(s,a)): an action leads to one of Z post-decision states, then to s'.

    Where Z is far below S·A (what is left of assets after spending, stock after an order) a table
    of Z·S numbers stands for one of S·A·S.

    Args:
        chosen: z(s,a), integers (S,A) from 0 to Z-1.
        probabilities: K (Z,S), K[z,s'] the probability of s' after z.

    Raises:
        InvalidInputError: the shapes do not fit, an entry of `chosen` is outside 0..Z-1, one of K
            is negative or not finite, or a row of K does not sum to 1.

    Source: Powell (2011), Approximate Dynamic Programming, section 4.6.
    """

    chosen: Int[Array, "S A"]
    probabilities: Float[Array, "Z S"]

    def __init__(self, chosen: Int[Array | np.ndarray, "S A"], probabilities: Numbers):
        table = as_float_array(
            "probabilities", probabilities, "must not be negative", lambda p: p >= 0
        )
        shape, dtype = chosen.shape, chosen.dtype
        if not jnp.issubdtype(dtype, jnp.integer) or len(shape) != 2:
            raise InvalidInputError(
                f"chosen: expected integers of shape (S, A), got {dtype}{list(shape)}"
            )
        if table.ndim != 2 or table.shape[1] != shape[0] or 0 in shape + table.shape:
            raise InvalidInputError(
                f"probabilities: expected shape (Z, {shape[0]}), got {tuple(table.shape)}"
            )
        if not isinstance(chosen, jax.core.Tracer):
            place, last = np.asarray(chosen), len(table) - 1
            check("chosen", place, (place >= 0) & (place <= last), f"must lie in 0..{last}")
        if not isinstance(probabilities, jax.core.Tracer):
            check_rows(probabilities)
        self.chosen, self.probabilities = jnp.asarray(chosen), table

    @property
    def shape(self) -> tuple[int, int]:
        """(S, A)."""
        states, actions = self.chosen.shape
        return states, actions

    def expect(self, values: Float[Array, "S"]) -> Float[Array, "S A"]:
        """Σ_s' P(s'|s,a) values(s')."""
        return (self.probabilities @ values)[self.chosen]

    def push(self, weights: Float[Array, "S A"]) -> Float[Array, "S"]:
        """Σ_{s,a} weights(s,a) P(s'|s,a)."""
        flow = jnp.zeros(len(self.probabilities), weights.dtype).at[self.chosen].add(weights)
        return flow @ self.probabilities

    def next_state(
        self, uniform: Float[Array, "*N"], state: Int[Array, "*N"], action: Int[Array, "*N"]
    ) -> Int[Array, "*N"]:
        """The next states s' ~ P(·|s,a) that uniform numbers in [0, 1) stand for."""
        cumulative = jnp.cumsum(self.probabilities, axis=-1)[self.chosen[state, action]]
        return invert(cumulative, uniform).astype(state.dtype)

    def probability(
        self, state: Int[Array, "*N"], action: Int[Array, "*N"], next_state: Int[Array, "*N"]
    ) -> Float[Array, "*N"]:
        """P(s'|s,a) of single transitions; differentiable."""
        return self.probabilities[self.chosen[state, action], next_state]

    def matrix(self, weights: Float[Array, "S A"]) -> Float[Array, "S S"]:
        """Σ_a weights(s,a) P(s'|s,a)."""
        states = jnp.arange(len(self.chosen))[:, None]
        flow = jnp.zeros((len(self.chosen), len(self.probabilities)), weights.dtype)
        return flow.at[states, self.chosen].add(weights) @ self.probabilities

    def sparse(self, weights: Float[Array, "S A"]) -> BCOO:
        """Every entry of `matrix`: K is a full table."""
        states = len(self.chosen)
        places = jnp.indices((states, states), dtype=jnp.int32).reshape(2, -1).T
        return BCOO((self.matrix(weights).ravel(), places), shape=(states, states))

    @property
    def num_entries(self) -> int:
        """S²."""
        return len(self.chosen) ** 2

    def is_nonnegative(self) -> Bool[Array, ""]:
        """Whether no probability is negative."""
        return jnp.all(self.probabilities >= 0)

    def expect_reward(self, reward: Float[Array, "S A S"]) -> Float[Array, "S A"]:
        """Σ_s' P(s'|s,a) reward(s,a,s')."""

        def row(inputs):
            chosen, reward = inputs
            return jnp.sum(self.probabilities[chosen] * reward, axis=-1)

        return jax.lax.map(row, (self.chosen, reward))
