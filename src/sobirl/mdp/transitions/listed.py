"""Laws that can list the successors of a state and an action: what follows from that alone."""

import abc

import jax
import jax.numpy as jnp
from jax.experimental.sparse import BCOO
from jaxtyping import Array, Bool, Float, Int

from sobirl.mdp.transitions.operator import TransitionOperator, invert
from sobirl.mdp.transitions.successor_list import SuccessorList


class Listed(TransitionOperator):
    """A law that gives the K possible successors of a state and an action, and their probabilities.

    `expect` and `push` are left to the subclass; what is left needs no table either, but where the
    answer is one.
    """

    @abc.abstractmethod
    def successors_of(
        self, state: Int[Array, ""], action: Int[Array, ""]
    ) -> tuple[Int[Array, "K"], Float[Array, "K"]]:
        """Next states and their probabilities; repeated ones add up."""

    @property
    @abc.abstractmethod
    def num_successors(self) -> int:
        """K."""

    @property
    def num_entries(self) -> int:
        """S·A·K."""
        states, actions = self.shape
        return states * actions * self.num_successors

    def place(
        self, state: Int[Array, "*N"], action: Int[Array, "*N"], next_state: Int[Array, "*N"]
    ) -> Int[Array, "*N"]:
        """The first place at which the successors have that state."""

        def single(state, action, next_state):
            return jnp.argmax(self.successors_of(state, action)[0] == next_state)

        return jnp.vectorize(single)(state, action, next_state)

    def reweighted(self, probabilities: Float[Array, "S A K"]) -> SuccessorList:
        """The same successors with other probabilities, as a list."""
        return self.as_list().reweighted(probabilities)

    def next_state(
        self, uniform: Float[Array, "*N"], state: Int[Array, "*N"], action: Int[Array, "*N"]
    ) -> Int[Array, "*N"]:
        """The next states s' ~ P(·|s,a) that uniform numbers in [0, 1) stand for."""

        def draw(uniform, state, action):
            there, probabilities = self.successors_of(state, action)
            return there[invert(jnp.cumsum(probabilities), uniform)].astype(state.dtype)

        return jnp.vectorize(draw)(uniform, state, action)

    def probability(
        self, state: Int[Array, "*N"], action: Int[Array, "*N"], next_state: Int[Array, "*N"]
    ) -> Float[Array, "*N"]:
        """P(s'|s,a) of single transitions; differentiable."""

        def single(state, action, next_state):
            there, probabilities = self.successors_of(state, action)
            return jnp.sum(jnp.where(there == next_state, probabilities, 0.0))

        return jnp.vectorize(single)(state, action, next_state)

    def matrix(self, weights: Float[Array, "S A"]) -> Float[Array, "S S"]:
        """Σ_a weights(s,a) P(s'|s,a)."""

        def row(inputs):
            state, weights = inputs
            there, probabilities = self._all_actions(state)
            flow = weights[:, None] * probabilities
            return jnp.zeros(states, flow.dtype).at[there].add(flow)

        states = self.shape[0]
        return jax.lax.map(row, (jnp.arange(states), weights), batch_size=min(states, 256))

    def sparse(self, weights: Float[Array, "S A"]) -> BCOO:
        """An entry for every successor of every state and action."""
        return self.as_list().sparse(weights)

    def as_list(self) -> SuccessorList:
        """The same law as a table of all its successors."""
        states = jnp.arange(self.shape[0], dtype=jnp.int32)
        return SuccessorList(*jax.vmap(self._all_actions)(states))

    def is_nonnegative(self) -> Bool[Array, ""]:
        """Whether no probability is negative."""
        states = self.shape[0]
        row = lambda state: jnp.all(self._all_actions(state)[1] >= 0)  # noqa: E731
        return jnp.all(jax.lax.map(row, jnp.arange(states), batch_size=min(states, 1024)))

    def expect_reward(self, reward: Float[Array, "S A S"]) -> Float[Array, "S A"]:
        """Σ_s' P(s'|s,a) reward(s,a,s')."""

        def row(inputs):
            state, reward = inputs
            there, probabilities = self._all_actions(state)
            return jnp.sum(probabilities * jnp.take_along_axis(reward, there, axis=-1), axis=-1)

        states = self.shape[0]
        return jax.lax.map(row, (jnp.arange(states), reward), batch_size=min(states, 256))

    def _all_actions(self, state: Int[Array, ""]) -> tuple[Int[Array, "A K"], Float[Array, "A K"]]:
        """The successors of a state by every action."""
        actions = jnp.arange(self.shape[1], dtype=state.dtype)
        return jax.vmap(self.successors_of, in_axes=(None, 0))(state, actions)
