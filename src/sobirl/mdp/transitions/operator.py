"""The contract of transition operators: what the solvers need to know about P, and no more."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import BCOO
from jaxtyping import Array, Bool, Float, Int, Key

from sobirl.core.checks import Numbers, check
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

    @property
    def num_successors(self) -> int:
        """K: the most next states that a state and action can have."""
        raise self._unnumbered()

    def place(
        self, state: Int[Array, "*N"], action: Int[Array, "*N"], next_state: Int[Array, "*N"]
    ) -> Int[Array, "*N"]:
        """Which of its K successors next_state is, for tables (S,A,K) of what was seen."""
        raise self._unnumbered()

    def reweighted(self, probabilities: Float[Array, "S A K"]) -> "TransitionOperator":
        """The law with the same successors and other probabilities; they are not checked."""
        raise self._unnumbered()

    def _unnumbered(self) -> InvalidInputError:
        return InvalidInputError(
            f"transition: {type(self).__name__} does not number its successors, as tables of seen "
            "transitions need; take a SuccessorList, or a method that fits no values"
        )

    def sample(
        self, key: Key[Array, ""], state: Int[Array, "*N"], action: Int[Array, "*N"]
    ) -> Int[Array, "*N"]:
        """Next states s' ~ P(·|s,a)."""
        return self.next_state(jax.random.uniform(key, state.shape), state, action)

    @abc.abstractmethod
    def matrix(self, weights: Float[Array, "S A"]) -> Float[Array, "S S"]:
        """Σ_a weights(s,a) P(s'|s,a), the matrix that dense solvers factor."""

    @abc.abstractmethod
    def sparse(self, weights: Float[Array, "S A"]) -> BCOO:
        """Σ_a weights(s,a) P(s'|s,a) as the entries that can be other than 0; repeated ones add up.

        How many there are and where they stand does not depend on the weights.
        """

    @property
    @abc.abstractmethod
    def num_entries(self) -> int:
        """How many entries `sparse` has."""

    @property
    def bandwidth(self) -> int | None:
        """How far apart a state and its successors are, in a good order of the states.

        It bounds the fill of a sparse factorization of I - γP_π. None: not known, or too few states
        for it to matter.
        """
        return None

    @abc.abstractmethod
    def is_nonnegative(self) -> Bool[Array, ""]:
        """Whether no probability is negative."""

    @abc.abstractmethod
    def expect_reward(self, reward: Float[Array, "S A S"]) -> Float[Array, "S A"]:
        """Σ_s' P(s'|s,a) reward(s,a,s')."""


def check_rows(probabilities: Numbers) -> None:
    """Raise unless the probabilities of every state and action sum to 1."""
    sums = np.asarray(probabilities).sum(axis=-1, dtype=np.float64)
    check("transition", sums, sums_to_one(sums), "each row P[s, a, :] must sum to 1")


def sums_to_one(sums: Float[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
    """Which sums of probabilities are 1: those normalized in float32 are off by their rounding."""
    return np.abs(sums - 1) <= 1e-5


def invert(cumulative: Float[Array, "*N K"], uniform: Float[Array, "*N"]) -> Int[Array, "*N"]:
    """The index in 0..K-1 at which cumulative weights exceed that share of their total.

    One uniform number a draw, where Gumbel noise takes K.
    """
    draw = uniform * cumulative[..., -1]
    return jnp.sum(draw[..., None] >= cumulative[..., :-1], axis=-1, dtype=jnp.int32)


def push_by_transposition(
    operator: TransitionOperator, weights: Float[Array, "S A"]
) -> Float[Array, "S"]:
    """`push` as the transpose of `expect` that JAX derives, for laws that have no quicker one."""
    expect = lambda values: operator.expect(values)  # noqa: E731  # its method may not hash
    like = jax.ShapeDtypeStruct(operator.shape[:1], weights.dtype)
    result = jax.eval_shape(expect, like).dtype
    like = jax.ShapeDtypeStruct(operator.shape[:1], result)
    return jax.linear_transpose(expect, like)(weights.astype(result))[0]
