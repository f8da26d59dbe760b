"""A transition law as a full table."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.experimental.sparse import BCOO
from jaxtyping import Array, Bool, Float, Int

from sobirl.core.checks import Numbers, as_float_array
from sobirl.core.errors import InvalidInputError
from sobirl.mdp.transitions.operator import TransitionOperator, check_rows, invert


class Dense(TransitionOperator):
    """P as a full table.

    Args:
        probabilities: P (S,A,S), P[s,a,s'] the probability of s' after action a in state s.

    Raises:
        InvalidInputError: the shape is not (S,A,S), an entry is negative or not finite, or a row
            does not sum to 1.
    """

    probabilities: Float[Array, "S A S"]

    def __init__(self, probabilities: Numbers):
        table = as_float_array(
            "transition", probabilities, "probabilities must not be negative", lambda p: p >= 0
        )
        if table.ndim != 3 or table.shape[0] != table.shape[2] or 0 in table.shape:
            raise InvalidInputError(
                f"transition: expected shape (S, A, S), got {tuple(table.shape)}"
            )
        if not isinstance(probabilities, jax.core.Tracer):
            check_rows(probabilities)
        self.probabilities = table

    @property
    def shape(self) -> tuple[int, int]:
        """(S, A)."""
        states, actions, _ = self.probabilities.shape
        return states, actions

    def expect(self, values: Float[Array, "S"]) -> Float[Array, "S A"]:
        """Σ_s' P(s'|s,a) values(s')."""
        return self.probabilities @ values

    def push(self, weights: Float[Array, "S A"]) -> Float[Array, "S"]:
        """Σ_{s,a} weights(s,a) P(s'|s,a)."""
        return jnp.tensordot(weights, self.probabilities, axes=2)

    @property
    def num_successors(self) -> int:
        """S."""
        return self.shape[0]

    def place(
        self, state: Int[Array, "*N"], action: Int[Array, "*N"], next_state: Int[Array, "*N"]
    ) -> Int[Array, "*N"]:
        """The next state itself."""
        return next_state

    def reweighted(self, probabilities: Float[Array, "S A S"]) -> "Dense":
        """Another table."""
        return eqx.tree_at(lambda t: t.probabilities, self, probabilities)

    def next_state(
        self, uniform: Float[Array, "*N"], state: Int[Array, "*N"], action: Int[Array, "*N"]
    ) -> Int[Array, "*N"]:
        """The next states s' ~ P(·|s,a) that uniform numbers in [0, 1) stand for."""
        place = invert(jnp.cumsum(self.probabilities[state, action], axis=-1), uniform)
        return place.astype(state.dtype)

    def probability(
        self, state: Int[Array, "*N"], action: Int[Array, "*N"], next_state: Int[Array, "*N"]
    ) -> Float[Array, "*N"]:
        """P(s'|s,a) of single transitions; differentiable."""
        return self.probabilities[state, action, next_state]

    def matrix(self, weights: Float[Array, "S A"]) -> Float[Array, "S S"]:
        """Σ_a weights(s,a) P(s'|s,a)."""
        return jnp.einsum("sa,sat->st", weights, self.probabilities)

    def sparse(self, weights: Float[Array, "S A"]) -> BCOO:
        """Every entry of `matrix`: a full table does not know which of them are 0."""
        states = self.shape[0]
        places = jnp.indices((states, states), dtype=jnp.int32).reshape(2, -1).T
        return BCOO((self.matrix(weights).ravel(), places), shape=(states, states))

    @property
    def num_entries(self) -> int:
        """S²."""
        return self.shape[0] ** 2

    def is_nonnegative(self) -> Bool[Array, ""]:
        """Whether no probability is negative."""
        return jnp.all(self.probabilities >= 0)

    def expect_reward(self, reward: Float[Array, "S A S"]) -> Float[Array, "S A"]:
        """Σ_s' P(s'|s,a) reward(s,a,s')."""
        return jnp.einsum("sat,sat->sa", reward, self.probabilities)
