"""A transition law as a few possible successors of every state and action."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import BCOO
from jaxtyping import Array, Bool, Float, Int

from sobirl.core.checks import Numbers, as_float_array, check
from sobirl.core.errors import InvalidInputError
from sobirl.mdp.transitions.operator import TransitionOperator, check_rows, invert


class SuccessorList(TransitionOperator):
    """P as K possible successors of every state and action: for sparse transitions.

    Args:
        successors: next states (S,A,K), integers in 0..S-1; repeated ones add up.
        probabilities: their probabilities (S,A,K); use 0 to fill unused places.

    Raises:
        InvalidInputError: shapes that do not match, a successor that is not a state, a negative
            probability, or a row that does not sum to 1.
    """

    successors: Int[Array, "S A K"]
    probabilities: Float[Array, "S A K"]

    def __init__(self, successors: Numbers, probabilities: Numbers):
        self.probabilities = as_float_array(
            "transition", probabilities, "probabilities must not be negative", lambda p: p >= 0
        )
        if not isinstance(successors, jax.core.Tracer):
            try:
                successors = np.asarray(successors)
            except ValueError as error:
                raise InvalidInputError("successors: not a rectangular table") from error
        if not jnp.issubdtype(successors.dtype, jnp.integer):
            raise InvalidInputError(f"successors: expected integers, got {successors.dtype}")
        if successors.ndim != 3 or successors.shape != self.probabilities.shape:
            raise InvalidInputError(
                "successors: expected shape (S, A, K), the same as probabilities "
                f"{tuple(self.probabilities.shape)}, got {successors.shape}"
            )
        if isinstance(successors, np.ndarray):
            inside = (successors >= 0) & (successors < len(successors))
            check("successors", successors, inside, f"states are 0 to {len(successors) - 1}")
        if not isinstance(probabilities, jax.core.Tracer):
            check_rows(probabilities)
        self.successors = jnp.asarray(successors)

    @property
    def shape(self) -> tuple[int, int]:
        """(S, A)."""
        states, actions, _ = self.probabilities.shape
        return states, actions

    def expect(self, values: Float[Array, "S"]) -> Float[Array, "S A"]:
        """Σ_s' P(s'|s,a) values(s')."""
        return jnp.sum(self.probabilities * values[self.successors], axis=-1)

    def push(self, weights: Float[Array, "S A"]) -> Float[Array, "S"]:
        """Σ_{s,a} weights(s,a) P(s'|s,a)."""
        flow = weights[..., None] * self.probabilities
        return jnp.zeros(self.shape[0], flow.dtype).at[self.successors].add(flow)

    @property
    def num_successors(self) -> int:
        """K."""
        return self.successors.shape[-1]

    def place(
        self, state: Int[Array, "*N"], action: Int[Array, "*N"], next_state: Int[Array, "*N"]
    ) -> Int[Array, "*N"]:
        """The first place at which the list has that state."""
        return jnp.argmax(self.successors[state, action] == next_state[..., None], axis=-1)

    def reweighted(self, probabilities: Float[Array, "S A K"]) -> "SuccessorList":
        """The same successors with other probabilities."""
        return eqx.tree_at(lambda t: t.probabilities, self, probabilities)

    def next_state(
        self, uniform: Float[Array, "*N"], state: Int[Array, "*N"], action: Int[Array, "*N"]
    ) -> Int[Array, "*N"]:
        """The next states s' ~ P(·|s,a) that uniform numbers in [0, 1) stand for."""
        place = invert(jnp.cumsum(self.probabilities[state, action], axis=-1), uniform)
        return self.successors[state, action, place].astype(state.dtype)

    def probability(
        self, state: Int[Array, "*N"], action: Int[Array, "*N"], next_state: Int[Array, "*N"]
    ) -> Float[Array, "*N"]:
        """P(s'|s,a) of single transitions; differentiable."""
        there = self.successors[state, action] == next_state[..., None]
        return jnp.sum(jnp.where(there, self.probabilities[state, action], 0.0), axis=-1)

    def matrix(self, weights: Float[Array, "S A"]) -> Float[Array, "S S"]:
        """Σ_a weights(s,a) P(s'|s,a)."""
        states = self.shape[0]
        flow = weights[..., None] * self.probabilities
        rows = jnp.arange(states)[:, None, None]
        return jnp.zeros((states, states), flow.dtype).at[rows, self.successors].add(flow)

    def sparse(self, weights: Float[Array, "S A"]) -> BCOO:
        """An entry for every successor of every state and action."""
        states = self.shape[0]
        flow = weights[..., None] * self.probabilities
        rows = jnp.broadcast_to(jnp.arange(states)[:, None, None], flow.shape)
        places = jnp.stack([rows, self.successors], axis=-1).astype(jnp.int32)
        return BCOO((flow.ravel(), places.reshape(-1, 2)), shape=(states, states))

    @property
    def num_entries(self) -> int:
        """S·A·K."""
        return self.successors.size

    def is_nonnegative(self) -> Bool[Array, ""]:
        """Whether no probability is negative."""
        return jnp.all(self.probabilities >= 0)

    def expect_reward(self, reward: Float[Array, "S A S"]) -> Float[Array, "S A"]:
        """Σ_s' P(s'|s,a) reward(s,a,s')."""
        chosen = jnp.take_along_axis(reward, self.successors, axis=-1)
        return jnp.sum(self.probabilities * chosen, axis=-1)
