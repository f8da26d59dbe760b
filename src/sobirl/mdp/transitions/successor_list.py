"""A transition law as a few possible successors of every state and action."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import BCOO
from jaxtyping import Array, Bool, Float, Int, Shaped

from sobirl.core.checks import Checked, Numbers, as_float_array, check
from sobirl.core.errors import InvalidInputError
from sobirl.mdp.transitions import conversions
from sobirl.mdp.transitions.operator import TransitionOperator, check_rows, invert
from sobirl.mdp.transitions.structure import (
    MOST_TERMS,
    SMALL,
    Incoming,
    Structure,
    check_structure,
    find_structure,
)


class SuccessorList(TransitionOperator):
    """P as K possible successors of every state and action: for sparse transitions.

    Of more than 2,000 states it finds out what makes it quick: the transposed list for `push` where
    that helps, and `bandwidth`. A terminal state needs successors too, itself as a rule; the
    discount 0 there ends the episode.

    Args:
        successors: next states (S,A,K), integers in 0..S-1; repeated ones add up.
        probabilities: their probabilities (S,A,K); use 0 to fill unused places.
        structure: the `structure` of another list of the same successors, so that nothing need be
            found out again; for lists with other probabilities in functions that run often.

    Raises:
        InvalidInputError: shapes that do not match, a successor that is not a state, a negative
            probability, a row that does not sum to 1, or the structure of other successors.
    """

    successors: Int[Array, "S A K"]
    probabilities: Float[Array, "S A K"]
    incoming: Incoming | None
    known_bandwidth: int | None = eqx.field(static=True)

    def __init__(
        self, successors: Numbers, probabilities: Numbers, structure: Structure | None = None
    ):
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
            successors = successors.astype(np.int32)  # half the memory to read, and quicker
            if structure is None:
                structure = find_structure(successors)
            else:
                structure = check_structure(structure, successors)
        self.incoming, self.known_bandwidth = structure or (None, None)
        if not isinstance(probabilities, jax.core.Tracer):
            check_rows(probabilities)
        self.successors = jnp.asarray(successors)

    @classmethod
    def from_dense(cls, probabilities: Numbers) -> "SuccessorList":
        """The entries of a full table (S,A,S) that are not 0.

        Raises:
            InvalidInputError: the table is not P, see `Dense`.
        """
        return cls(*conversions.from_dense(probabilities))

    @classmethod
    def from_scipy(cls, matrices: Any) -> "SuccessorList":
        """From SciPy sparse matrices: one (S,S) an action, or a single (S·A,S), row s·A + a.

        Repeated entries are added, zeros left out.

        Raises:
            InvalidInputError: other shapes, or rows that are no distributions.
        """
        return cls(*conversions.from_scipy(matrices))

    @classmethod
    def from_function(
        cls,
        function: Callable[[int, int], Mapping[int, float] | Sequence[tuple[int, float]]],
        num_states: Checked[int],
        num_actions: Checked[int],
        *,
        progress: bool | None = None,
    ) -> "SuccessorList":
        """From a Python function, called once for every state and action.

        Args:
            function: (state, action) -> {next state: probability}, or pairs of these; repeated
                states are added. K is the largest number of them.
            num_states: S.
            num_actions: A.
            progress: whether to show a progress bar; None for on a terminal only.

        Raises:
            InvalidInputError: an answer that is no distribution over the states, with its state
                and action.
        """
        return cls(*conversions.from_function(function, num_states, num_actions, progress))

    @property
    def shape(self) -> tuple[int, int]:
        """(S, A)."""
        states, actions, _ = self.probabilities.shape
        return states, actions

    def expect(self, values: Float[Array, "S"]) -> Float[Array, "S A"]:
        """Σ_s' P(s'|s,a) values(s')."""
        if len(self.successors) <= SMALL or self.num_successors > MOST_TERMS:
            return jnp.sum(self.probabilities * values[self.successors], axis=-1)
        # Written out: XLA makes one parallel loop of this sum, several times quicker on CPUs.
        terms = [
            self.probabilities[..., k] * _take(values, self.successors[..., k])
            for k in range(self.num_successors)
        ]
        return sum(terms[1:], start=terms[0])

    def push(self, weights: Float[Array, "S A"]) -> Float[Array, "S"]:
        """Σ_{s,a} weights(s,a) P(s'|s,a)."""
        if self.incoming is not None:
            return self._gather_incoming(self.incoming, weights)
        flow = weights[..., None] * self.probabilities
        return jnp.zeros(self.shape[0], flow.dtype).at[self.successors].add(flow)

    def _gather_incoming(
        self, incoming: Incoming, weights: Float[Array, "S A"]
    ) -> Float[Array, "S"]:
        """`push` as a gather, which XLA runs in parallel; it scatters one entry after another."""
        probabilities, weights = self.probabilities.ravel(), weights.ravel()

        def chances(places):
            there = _take(probabilities, places)
            return jnp.where(places < probabilities.size, there, 0.0)

        columns = [incoming.places[:, place] for place in range(incoming.places.shape[1])]
        # The barrier keeps together what XLA may do once, before a solver's loop.
        kept = jax.lax.optimization_barrier([chances(places) for places in columns])
        terms = [
            chance * _take(weights, places // self.num_successors)
            for chance, places in zip(kept, columns, strict=True)
        ]
        total = sum(terms[1:], start=terms[0])
        if incoming.rest.size:
            targets = _take(self.successors.ravel(), incoming.rest)
            flow = chances(incoming.rest) * _take(weights, incoming.rest // self.num_successors)
            total = total.at[targets].add(flow)
        return total

    @property
    def structure(self) -> Structure:
        """What was found out about the successors."""
        return Structure(self.incoming, self.known_bandwidth)

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
        rows = jnp.arange(states, dtype=jnp.int32)[:, None, None]
        rows = jnp.broadcast_to(rows, flow.shape)
        places = jnp.stack([rows, self.successors.astype(jnp.int32)], axis=-1)
        return BCOO((flow.ravel(), places.reshape(-1, 2)), shape=(states, states))

    @property
    def num_entries(self) -> int:
        """S·A·K."""
        return self.successors.size

    @property
    def bandwidth(self) -> int | None:
        """How far apart a state and its successors are, see `TransitionOperator.bandwidth`.

        Known of more than 2,000 states if the successors were no tracers.
        """
        return self.known_bandwidth

    def is_nonnegative(self) -> Bool[Array, ""]:
        """Whether no probability is negative."""
        return jnp.all(self.probabilities >= 0)

    def expect_reward(self, reward: Float[Array, "S A S"]) -> Float[Array, "S A"]:
        """Σ_s' P(s'|s,a) reward(s,a,s')."""
        chosen = jnp.take_along_axis(reward, self.successors, axis=-1)
        return jnp.sum(self.probabilities * chosen, axis=-1)


def _take(values: Shaped[Array, "N"], places: Int[Array, "*M"]) -> Shaped[Array, "*M"]:
    """values[places] without tests of the places: they were checked, or XLA clips them."""
    return values.at[places].get(mode="promise_in_bounds")
