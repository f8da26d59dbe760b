"""Transition operators: what the solvers need to know about P, and no more."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from sobirl.core.checks import Numbers, as_float_array, check
from sobirl.core.errors import InvalidInputError


class TransitionOperator(eqx.Module):
    """The contract of a transition law P(s'|s,a) over S states and A actions.

    `expect` and `push` are each other's transpose: ⟨expect(v), m⟩ = ⟨v, push(m)⟩.
    """

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """(S, A)."""

    @abc.abstractmethod
    def expect(self, values: Float[Array, "S"]) -> Float[Array, "S A"]:
        """Σ_s' P(s'|s,a) values(s')."""

    @abc.abstractmethod
    def push(self, weights: Float[Array, "S A"]) -> Float[Array, "S"]:
        """Σ_{s,a} weights(s,a) P(s'|s,a)."""

    @abc.abstractmethod
    def next_state(
        self, uniform: Float[Array, "*N"], state: Int[Array, "*N"], action: Int[Array, "*N"]
    ) -> Int[Array, "*N"]:
        """The next states s' ~ P(·|s,a) that uniform numbers in [0, 1) stand for."""

    @abc.abstractmethod
    def probability(
        self, state: Int[Array, "*N"], action: Int[Array, "*N"], next_state: Int[Array, "*N"]
    ) -> Float[Array, "*N"]:
        """P(s'|s,a) of single transitions; differentiable."""

    def sample(
        self, key: Key[Array, ""], state: Int[Array, "*N"], action: Int[Array, "*N"]
    ) -> Int[Array, "*N"]:
        """Next states s' ~ P(·|s,a)."""
        return self.next_state(jax.random.uniform(key, state.shape), state, action)

    @abc.abstractmethod
    def matrix(self, weights: Float[Array, "S A"]) -> Float[Array, "S S"]:
        """Σ_a weights(s,a) P(s'|s,a), the matrix that direct solvers factor."""

    @abc.abstractmethod
    def is_nonnegative(self) -> Bool[Array, ""]:
        """Whether no probability is negative."""

    @abc.abstractmethod
    def expect_reward(self, reward: Float[Array, "S A S"]) -> Float[Array, "S A"]:
        """Σ_s' P(s'|s,a) reward(s,a,s')."""


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
            _check_rows(probabilities)
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

    def is_nonnegative(self) -> Bool[Array, ""]:
        """Whether no probability is negative."""
        return jnp.all(self.probabilities >= 0)

    def expect_reward(self, reward: Float[Array, "S A S"]) -> Float[Array, "S A"]:
        """Σ_s' P(s'|s,a) reward(s,a,s')."""
        return jnp.einsum("sat,sat->sa", reward, self.probabilities)


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
            _check_rows(probabilities)
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

    def is_nonnegative(self) -> Bool[Array, ""]:
        """Whether no probability is negative."""
        return jnp.all(self.probabilities >= 0)

    def expect_reward(self, reward: Float[Array, "S A S"]) -> Float[Array, "S A"]:
        """Σ_s' P(s'|s,a) reward(s,a,s')."""
        chosen = jnp.take_along_axis(reward, self.successors, axis=-1)
        return jnp.sum(self.probabilities * chosen, axis=-1)


def _check_rows(probabilities: Numbers) -> None:
    """Raise unless the probabilities of every state and action sum to 1."""
    sums = np.asarray(probabilities).sum(axis=-1, dtype=np.float64)
    # Rows that were normalized in float32 are off by their rounding, not by mistake.
    check("transition", sums, np.abs(sums - 1) <= 1e-5, "each row P[s, a, :] must sum to 1")


def invert(cumulative: Float[Array, "*N K"], uniform: Float[Array, "*N"]) -> Int[Array, "*N"]:
    """The index in 0..K-1 at which cumulative weights exceed that share of their total.

    One uniform number a draw, where Gumbel noise takes K.
    """
    draw = uniform * cumulative[..., -1]
    return jnp.sum(draw[..., None] >= cumulative[..., :-1], axis=-1, dtype=jnp.int32)
