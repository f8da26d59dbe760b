"""A transition law as independent components: K small tables stand for one with M^K states."""

import math
from collections.abc import Iterable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import BCOO
from jaxtyping import Array, Bool, Float, Int

from sobirl.core.checks import Checked, Numbers, check
from sobirl.core.errors import InvalidInputError
from sobirl.mdp.transitions.dense import Dense
from sobirl.mdp.transitions.listed import Listed
from sobirl.mdp.transitions.operator import TransitionOperator, invert
from sobirl.mdp.transitions.structure import MOST_TERMS
from sobirl.mdp.transitions.successor_list import SuccessorList

# States for every successor up to which a full table is quicker to transpose than a list.
_DENSE = 50


class Product(TransitionOperator):
    """Independent components that move at the same time, each by an action of its own:

        P(s'|s,a) = Π_i P_i(s'_i | s_i, c_i(a)),    s = (s_1, ..., s_K) in mixed radix, s_K fastest.

    `expect` and `push` apply one component after another and cost S·A·Σ_i M_i at most; joint
    actions that have component actions in common share that work.

    Args:
        components: K laws, operators or tables (M_i, A_i, M_i); kept as `Dense` or `SuccessorList`.
        component_actions: the action c_i(a) of every component (A,K) in each of A joint actions.
        bandwidth: how far apart a state and its successors are, if that is known; see
            `TransitionOperator.bandwidth`.

    Raises:
        InvalidInputError: a component is no law, or the actions are no table of its actions.
    """

    components: tuple[Dense | SuccessorList, ...]
    component_actions: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    given_bandwidth: int | None = eqx.field(static=True)

    def __init__(
        self,
        components: Checked[Sequence[TransitionOperator | Float[Array, "M A M"]]],
        component_actions: Numbers,
        bandwidth: int | None = None,
    ):
        if not isinstance(components, Sequence) or not len(components):
            raise InvalidInputError(
                f"components: expected a list of laws, got {type(components).__name__}"
            )
        self.components = tuple(_law(i, component) for i, component in enumerate(components))
        table = np.asarray(component_actions)
        if not np.issubdtype(table.dtype, np.integer):
            raise InvalidInputError(f"component_actions: expected integers, got {table.dtype}")
        if table.ndim != 2 or table.shape[1] != len(self.components) or not len(table):
            raise InvalidInputError(
                f"component_actions: expected shape (A, {len(self.components)}), a row for each "
                f"joint action, got {table.shape}"
            )
        counts = np.array([component.shape[1] for component in self.components])
        requirement = f"the components have {counts.tolist()} actions, numbered from 0"
        check("component_actions", table, (table >= 0) & (table < counts), requirement)
        self.component_actions = tuple(map(tuple, table.tolist()))
        self.given_bandwidth = bandwidth
        if math.prod(self.sizes) > np.iinfo(np.int32).max:
            raise InvalidInputError(
                f"components: {math.prod(self.sizes):,} joint states are more than an index can "
                "count"
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of states (M_1, ..., M_K)."""
        return tuple(component.shape[0] for component in self.components)

    @property
    def shape(self) -> tuple[int, int]:
        """(Π_i M_i, A)."""
        return math.prod(self.sizes), len(self.component_actions)

    @property
    def bandwidth(self) -> int | None:
        """As given."""
        return self.given_bandwidth

    def states_of(self, state: Int[Array, "*N"]) -> tuple[Int[Array, "*N"], ...]:
        """The states (s_1, ..., s_K) of the components."""
        return jnp.unravel_index(state, self.sizes)

    def expect(self, values: Float[Array, "S"]) -> Float[Array, "S A"]:
        """Σ_s' P(s'|s,a) values(s')."""
        # From the last component to the first, once for every different end of a joint action.
        found: dict[tuple[int, ...], Array] = {(): values}
        for index in reversed(range(len(self.components))):
            component, ends = (
                self.components[index],
                {own[index:] for own in self.component_actions},
            )
            found = {
                end: _expect(component, self._grid(found[end[1:]], index), end[0]).ravel()
                for end in sorted(ends)
            }
        return jnp.stack([found[own] for own in self.component_actions], axis=-1)

    def push(self, weights: Float[Array, "S A"]) -> Float[Array, "S"]:
        """Σ_{s,a} weights(s,a) P(s'|s,a): the transpose of `expect`, from the first to the last."""
        found = _sums(zip(self.component_actions, weights.T, strict=True))
        for index, component in enumerate(self.components):
            found = _sums(
                (end[1:], _push(component, self._grid(mass, index), end[0]).ravel())
                for end, mass in found.items()
            )
        return found[()]

    def _grid(self, table: Float[Array, "S"], index: int) -> Float[Array, "B M C"]:
        """A table of joint states by the component's own, those before it and those after it."""
        return table.reshape(math.prod(self.sizes[:index]), self.sizes[index], -1)

    @property
    def _actions(self) -> Int[np.ndarray, "A K"]:
        return np.array(self.component_actions)

    def next_state(
        self, uniform: Float[Array, "*N"], state: Int[Array, "*N"], action: Int[Array, "*N"]
    ) -> Int[Array, "*N"]:
        """The next states that uniform numbers in [0, 1) stand for, one component after another."""
        table = jnp.asarray(self._actions)
        there = jnp.zeros_like(state)
        for index, own in enumerate(self.states_of(state)):
            targets, chances = _successors(self.components[index], own, table[action, index])
            cumulative = jnp.cumsum(chances, axis=-1)
            cumulative = cumulative / cumulative[..., -1:]
            place = invert(cumulative, uniform)[..., None]
            pick = lambda rows, place=place: jnp.take_along_axis(rows, place, axis=-1)[..., 0]  # noqa: E731
            below, chance = pick(cumulative) - pick(chances), pick(chances)
            # What is left of the number is uniform again, and stands for the next component.
            uniform = jnp.clip((uniform - below) / jnp.where(chance > 0, chance, 1.0), 0.0, 1.0)
            there = there * self.sizes[index] + pick(targets).astype(state.dtype)
        return there

    def probability(
        self, state: Int[Array, "*N"], action: Int[Array, "*N"], next_state: Int[Array, "*N"]
    ) -> Float[Array, "*N"]:
        """P(s'|s,a) of single transitions; differentiable."""
        table = jnp.asarray(self._actions)
        pairs = zip(self.states_of(state), self.states_of(next_state), strict=True)
        factors = [
            self.components[index].probability(own, table[action, index], then)
            for index, (own, then) in enumerate(pairs)
        ]
        return math.prod(factors[1:], start=factors[0])

    def matrix(self, weights: Float[Array, "S A"]) -> Float[Array, "S S"]:
        """Σ_a weights(s,a) P(s'|s,a), column by column."""
        states = self.shape[0]
        column = lambda unit: jnp.sum(weights * self.expect(unit), axis=-1)  # noqa: E731
        return jax.lax.map(column, jnp.eye(states, dtype=weights.dtype), batch_size=64).T

    def sparse(self, weights: Float[Array, "S A"]) -> BCOO:
        """An entry for every combination of the components' successors, or all of S² if fewer."""
        states = self.shape[0]
        if self._is_full:
            places = jnp.indices((states, states), dtype=jnp.int32).reshape(2, -1).T
            return BCOO((self.matrix(weights).ravel(), places), shape=(states, states))
        return self.as_list().sparse(weights)

    def as_list(self) -> SuccessorList:
        """The same law as a table of all combinations of the components' successors."""
        states, actions = self.shape
        state, action = jnp.indices((states, actions), dtype=jnp.int32)
        table = jnp.asarray(self._actions)
        there, chances = jnp.zeros((states, actions, 1), jnp.int32), jnp.ones((states, actions, 1))
        for index, own in enumerate(self.states_of(state)):
            targets, own = _successors(self.components[index], own, table[action, index])
            targets = targets.astype(jnp.int32)
            there = there[..., None] * self.sizes[index] + targets[..., None, :]
            chances = chances[..., None] * own[..., None, :]
            there, chances = (x.reshape(states, actions, -1) for x in (there, chances))
        return SuccessorList(there, chances)

    @property
    def num_successors(self) -> int:
        """Π_i K_i."""
        return math.prod(component.num_successors for component in self.components)

    def place(
        self, state: Int[Array, "*N"], action: Int[Array, "*N"], next_state: Int[Array, "*N"]
    ) -> Int[Array, "*N"]:
        """The place among the combinations, the last component's fastest."""
        table = jnp.asarray(self._actions)
        place = jnp.zeros_like(next_state)
        pairs = zip(self.states_of(state), self.states_of(next_state), strict=True)
        for index, (own, then) in enumerate(pairs):
            component = self.components[index]
            found = component.place(own, table[action, index], then)
            place = place * component.num_successors + found.astype(place.dtype)
        return place

    def reweighted(self, probabilities: Float[Array, "S A K"]) -> SuccessorList:
        """The same successors with other probabilities: no product any more, but a list."""
        return self.as_list().reweighted(probabilities)

    @property
    def num_entries(self) -> int:
        """S·A·Π_i K_i, or S² if that is less."""
        states, actions = self.shape
        return states**2 if self._is_full else states * actions * self.num_successors

    @property
    def _is_full(self) -> bool:
        states, actions = self.shape
        return states <= actions * self.num_successors

    def is_nonnegative(self) -> Bool[Array, ""]:
        """Whether no probability of a component is negative."""
        return jnp.all(jnp.array([component.is_nonnegative() for component in self.components]))

    def expect_reward(self, reward: Float[Array, "S A S"]) -> Float[Array, "S A"]:
        """Σ_s' P(s'|s,a) reward(s,a,s')."""
        states, actions = self.shape
        state, action, then = (i.ravel() for i in jnp.indices((states, actions, states)))
        chances = self.probability(state, action, then).reshape(reward.shape)
        return jnp.sum(chances * reward, axis=-1)


def _law(index: int, component) -> Dense | SuccessorList:
    """A component as an operator."""
    if isinstance(component, (Dense, SuccessorList)):
        return component
    if isinstance(component, Listed):
        return component.as_list()
    if isinstance(component, TransitionOperator):
        return Dense(jax.vmap(component.expect, out_axes=-1)(jnp.eye(component.shape[0])))
    try:
        return Dense(component)
    except InvalidInputError as error:
        raise InvalidInputError(f"components[{index}]: {error}") from None


def _expect(
    component: Dense | SuccessorList, grid: Float[Array, "B M C"], action: int
) -> Float[Array, "B M C"]:
    """The expectation over one component's next state."""
    chances = component.probabilities[:, action]
    if isinstance(component, Dense):
        return jnp.einsum("mn,bnc->bmc", chances, grid)
    successors = component.successors[:, action]
    if component.num_successors > MOST_TERMS:
        return jnp.einsum("mk,bmkc->bmc", chances, grid[:, successors])
    # Written out: XLA makes one loop of this sum, several times quicker on CPUs.
    terms = [
        chances[:, k, None] * grid.at[:, successors[:, k]].get(mode="promise_in_bounds")
        for k in range(component.num_successors)
    ]
    return sum(terms[1:], start=terms[0])


def _push(
    component: Dense | SuccessorList, grid: Float[Array, "B M C"], action: int
) -> Float[Array, "B M C"]:
    """The transpose of `_expect`."""
    states = component.shape[0]
    if isinstance(component, SuccessorList) and states > _DENSE * component.num_successors:
        flow = component.probabilities[:, action, :, None] * grid[:, :, None]
        return jnp.zeros_like(grid).at[:, component.successors[:, action]].add(flow)
    # A product with the full table is quicker than one entry after another.
    own = jnp.zeros(component.shape, grid.dtype).at[:, action].set(1.0)
    return jnp.einsum("mn,bmc->bnc", component.matrix(own), grid)


def _sums(terms: Iterable[tuple[tuple[int, ...], Array]]) -> dict[tuple[int, ...], Array]:
    """The sum of the arrays of every key."""
    found = {}
    for key, term in terms:
        found[key] = found[key] + term if key in found else term
    return found


def _successors(
    component: Dense | SuccessorList, state: Int[Array, "*N"], action: Int[Array, "*N"]
) -> tuple[Int[Array, "*N K"], Float[Array, "*N K"]]:
    """The possible next states of a component and their probabilities."""
    chances = component.probabilities[state, action]
    if isinstance(component, SuccessorList):
        return component.successors[state, action], chances
    return jnp.broadcast_to(jnp.arange(component.shape[0]), chances.shape), chances
