"""The first stage: transition laws from the data.

A law has rows of probabilities ψ_r (K,), one for every set of states, actions and types that share
them, and says where the k-th of them leads:

    P(successors(s,a,k) | s,a) = ψ_{row(s,a), k}

so that increments of mileage (one row for all), frequencies by state and action (a row each) and
laws by type are the same thing. The maximum-likelihood estimate of a row is its frequencies.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from sobirl.core.checks import as_float_array, check
from sobirl.core.errors import InvalidInputError
from sobirl.estimation.data import Panel
from sobirl.estimation.law import Component, Law, Seen
from sobirl.estimation.levels import Levels, as_whole_numbers, refuse_first
from sobirl.mdp import SuccessorList, TransitionOperator

# Entries of a law (S·A·K) above which it is not made.
_MOST_ENTRIES = 10**8


class Transitions(abc.ABC):
    """How a part of the state moves: the contract of first stages."""

    @abc.abstractmethod
    def component(
        self,
        panel: Panel,
        columns: Sequence[int],
        sizes: Sequence[int],
        kinds: int,
        actions: Levels,
    ) -> tuple[Component, Seen | None, list[int]]:
        """The law, what was seen of it, and which of its actions each action is.

        Args:
            panel: the data.
            columns: the state's columns that it is about.
            sizes: their numbers of levels.
            kinds: C, the number of observed types.
            actions: of the problem.
        """

    def columns(self) -> list[str]:
        """The columns of the data that it needs beside the state's."""
        return []


@dataclasses.dataclass(frozen=True)
class Increments(Transitions):
    """s' = min(s + j, M - 1) with probability ψ_j, j = 0, ..., count - 1, whatever s is.

    Args:
        count: how many increments there are.
        reset: labels of the actions after which the state is that of 0: s' = j.
        column: a column of the data with the increments into each row (empty where not recorded);
            by default they are read off the states that follow one another.
        by_type: whether every observed type has increments of its own.
        probabilities: ψ (count,), if they are given and not estimated.

    Raises:
        InvalidInputError: fewer than two increments, or probabilities that are none.

    Source: Rust (1987), section 4.
    """

    count: int
    reset: Sequence[str | int] = ()
    column: str | None = None
    by_type: bool = False
    probabilities: Any = None

    def __post_init__(self):
        if not isinstance(self.count, (int, np.integer)) or self.count < 2:
            raise InvalidInputError(f"count: must be a whole number from 2, got {self.count!r}")
        if self.probabilities is not None:
            p = as_float_array(
                "probabilities", self.probabilities, "must not be negative", lambda p: p >= 0
            )
            if p.shape != (self.count,):
                raise InvalidInputError(
                    f"probabilities: expected {self.count} numbers, got shape {p.shape}"
                )
            check("probabilities", np.sum(p), np.abs(np.sum(p) - 1) <= 1e-5, "must sum to 1")

    def columns(self) -> list[str]:
        """That of the increments."""
        return [] if self.column is None or self.probabilities is not None else [self.column]

    def component(self, panel, columns, sizes, kinds, actions):
        """See `Transitions`."""
        if len(columns) != 1:
            raise InvalidInputError(
                "transitions: Increments are of one column of the state; give a mapping column -> "
                "law"
            )
        (size,) = sizes
        resets = _places(self.reset, actions)
        step = np.arange(self.count)
        on = np.minimum(np.arange(size)[:, None] + step, size - 1)
        back = np.broadcast_to(np.minimum(step, size - 1), on.shape)
        component_actions = [int(a in resets) for a in range(len(actions.labels))]
        successors = np.stack([on, back][: 1 + max(component_actions)], axis=1)
        by_type = self.by_type and self.probabilities is None
        rows = np.zeros((kinds, *successors.shape[:2]), np.int64)
        rows += np.arange(kinds)[:, None, None] * by_type
        if self.probabilities is not None:
            psi = np.asarray(self.probabilities, np.float64)
            template = SuccessorList(successors, np.broadcast_to(psi, successors.shape))
            return Component(template), None, component_actions
        observation, place = self._seen(panel, columns[0], size, resets)
        row = panel.kind[observation] * by_type
        seen = Seen(observation, row, place, np.zeros((int(rows.max()) + 1, self.count)))
        _refuse_unseen(seen, lambda _: "no increment was recorded")
        return _fitted(successors, rows, seen), seen, component_actions

    def _seen(self, panel, column, size, resets):
        if self.column is not None:
            entries = panel.extra[self.column]
            recorded = np.array(
                [entry is not None and entry == entry and entry != "" for entry in entries.tolist()]
            )
            observation = np.flatnonzero(recorded)
            place = as_whole_numbers(
                self.column, entries[observation], lambda i: panel.where(int(observation[i]))
            )
            self._check(place, lambda i: panel.where(int(observation[i])), self.column)
            return observation, place
        observation = np.flatnonzero(panel.next >= 0)
        before = panel.states[observation, column]
        before = np.where(np.isin(panel.action[observation], list(resets)), 0, before)
        after = panel.states[panel.next[observation], column]
        # Where the last state could have been reached by several increments nothing is learned.
        told = before + self.count - 1 < size
        observation, place = observation[told], (after - before)[told]
        rows = panel.next[observation]
        self._check(place, lambda i: panel.where(int(rows[i])), "of the state")
        return observation, place

    def _check(self, place, where, what):
        refuse_first(
            (place < 0) | (place >= self.count),
            lambda i: (
                f"{where(i)}: the increment ({what}) is {place[i]} where the law has 0 to "
                f"{self.count - 1}; take more increments, other bins, or name what resets the state"
            ),
        )


@dataclasses.dataclass(frozen=True)
class Frequencies(Transitions):
    """P(s'|s,a) as often as it was seen.

    Args:
        by_action: whether the action matters.
        by_type: whether every observed type has a law of its own.
        smoothing: pseudo-observations added to each row, spread like `toward`. Without any, a
            state and action of which no successor was seen are refused.
        toward: "action": the next states after the same action wherever it was taken;
            "state": those after the same state whatever was done; "uniform": all states alike.

    Raises:
        InvalidInputError: a negative smoothing or an unknown direction.
    """

    by_action: bool = True
    by_type: bool = False
    smoothing: float | int = 0.0
    toward: str = "action"

    def __post_init__(self):
        if not (self.smoothing >= 0 and np.isfinite(self.smoothing)):
            raise InvalidInputError(f"smoothing: must not be negative, got {self.smoothing}")
        if self.toward not in ("action", "state", "uniform"):
            raise InvalidInputError(
                f"toward: expected 'action', 'state' or 'uniform', got {self.toward!r}"
            )

    def component(self, panel, columns, sizes, kinds, actions):
        """See `Transitions`."""
        size = int(np.prod(sizes))
        num_actions = len(actions.labels) if self.by_action else 1
        component_actions = (
            list(range(num_actions)) if self.by_action else [0] * len(actions.labels)
        )
        state = np.ravel_multi_index(tuple(panel.states[:, columns].T), tuple(sizes))
        observation = np.flatnonzero(panel.next >= 0)
        before, after = state[observation], state[panel.next[observation]]
        action = np.asarray(component_actions)[panel.action[observation]]
        kind = panel.kind[observation] * self.by_type
        groups = kinds if self.by_type else 1
        row = (kind * size + before) * num_actions + action
        num_rows = groups * size * num_actions
        prior = self._prior(before, action, after, size, num_actions)
        if prior is None:
            seen = np.unique(np.stack([row, after]), axis=1)
            count = np.bincount(seen[0], minlength=num_rows)
            place = np.arange(seen.shape[1]) - np.searchsorted(seen[0], seen[0])
            support = np.zeros((num_rows, max(1, count.max(initial=0))), np.int64)
            support[seen[0], place] = seen[1]
            weights = np.zeros(support.shape)
        else:
            # The successors that the prior or the data give to this state and action in any type.
            support, weights = _support(prior, before * num_actions + action, after)
            weights = np.tile(weights * self.smoothing, (groups, 1))
            support = np.tile(support, (groups, 1))
        if support.size > _MOST_ENTRIES:
            raise InvalidInputError(
                f"transitions: {support.size:,} probabilities are too many; take increments, or a "
                "law for each column of the state"
            )
        # Successors are one table for all types: each row lists what any of them reaches.
        if groups > 1 and prior is None:
            support, weights = _shared_support(support, row, after, groups, num_rows)
        place = np.argmax(support[row] == after[:, None], axis=1)
        found = Seen(observation, row, place, weights)
        labels = actions.labels

        def unseen(row):
            state, action = divmod(row % (size * num_actions), num_actions)
            where = f"state {state}" + (f" and action {labels[action]!r}" if self.by_action else "")
            return f"nothing is known of what follows {where}"

        _refuse_unseen(found, unseen)
        successors = support[: size * num_actions].reshape(size, num_actions, -1)
        rows = np.arange(num_rows).reshape(groups, size, num_actions)
        rows = np.broadcast_to(rows, (kinds, size, num_actions))
        return _fitted(successors, rows, found), found, component_actions

    def _prior(self, before, action, after, size, num_actions):
        """Where pseudo-observations of each state and action lead (S·A,S), or None without any."""
        if not self.smoothing:
            return None
        if self.toward == "uniform":
            return np.full((size * num_actions, size), 1 / size)
        by = action if self.toward == "action" else before
        counts = np.zeros((num_actions if self.toward == "action" else size, size))
        np.add.at(counts, (by, after), 1.0)
        totals = counts.sum(axis=1, keepdims=True)
        shares = np.where(totals > 0, counts / np.where(totals > 0, totals, 1), 1 / size)
        if self.toward == "action":
            return np.tile(shares, (size, 1))
        return np.repeat(shares, num_actions, axis=0)


def _support(prior, row, after) -> tuple[np.ndarray, np.ndarray]:
    """The possible successors of every row (R,K) and their weights, padded with weight 0."""
    possible = prior > 0
    possible[row, after] = True
    count = int(possible.sum(axis=1).max())
    order = np.argsort(~possible, axis=1, kind="stable")[:, :count]
    inside = np.take_along_axis(possible, order, axis=1)
    support = np.where(inside, order, order[:, :1])
    weights = np.where(inside, np.take_along_axis(prior, order, axis=1), 0.0)
    return support, weights


def _shared_support(support, row, after, groups, num_rows) -> tuple[np.ndarray, np.ndarray]:
    """The same successors for all types."""
    own = num_rows // groups
    seen = np.unique(np.stack([row % own, after]), axis=1)
    count = np.bincount(seen[0], minlength=own)
    place = np.arange(seen.shape[1]) - np.searchsorted(seen[0], seen[0])
    support = np.zeros((own, max(1, count.max(initial=0))), np.int64)
    support[seen[0], place] = seen[1]
    return np.tile(support, (groups, 1)), np.zeros((num_rows, support.shape[1]))


def _fitted(successors, rows, seen: Seen) -> Component:
    psi = seen.frequencies()
    template = SuccessorList(successors, psi[rows[0]])
    return Component(template, rows, jnp.asarray(psi))


def _refuse_unseen(seen: Seen, what) -> None:
    """Raise if a row of ψ has neither observations nor pseudo-observations."""
    empty = np.flatnonzero((seen.counts + seen.prior).sum(axis=1) == 0)
    if len(empty):
        more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
        raise InvalidInputError(
            f"transitions: {what(int(empty[0]))}{more}; ask for smoothing, take Increments, or "
            "give the law"
        )


def _places(labels: Sequence, actions: Levels) -> set[int]:
    labels = [labels] if isinstance(labels, str) else list(labels)
    for label in labels:
        if label not in actions.labels:
            raise InvalidInputError(
                f"reset: {label!r} is no action; actions are {', '.join(map(str, actions.labels))}"
            )
    return {actions.labels.index(label) for label in labels}


def first_stage(
    spec: Any,
    panel: Panel,
    columns: Sequence[str],
    sizes: Sequence[int],
    kinds: int,
    actions: Levels,
) -> tuple[Law, tuple[Seen | None, ...]]:
    """The law that a specification says, estimated where it is not given.

    Args:
        spec: a `Transitions` of all columns, an operator, or a table (S,A,S); or a mapping from
            columns that move independently to these.
        panel: the data.
        columns: the state's columns.
        sizes: their numbers of levels.
        kinds: C.
        actions: of the problem.

    Raises:
        InvalidInputError: the specification does not fit, or the data contradict it.
    """
    if isinstance(spec, Mapping):
        if set(spec) != set(columns):
            raise InvalidInputError(
                f"transitions: expected a law for each of {', '.join(columns)}, got one for "
                f"{', '.join(map(str, spec)) or 'none'}"
            )
        parts = [
            spec[name].component(panel, [i], [sizes[i]], kinds, actions)
            if isinstance(spec[name], Transitions)
            else _given(name, spec[name], sizes[i], len(actions.labels))
            for i, name in enumerate(columns)
        ]
        components, seen, tables = zip(*parts, strict=True)
        return Law(components, tuple(zip(*tables, strict=True))), seen
    if isinstance(spec, Transitions):
        component, seen, table = spec.component(
            panel, list(range(len(columns))), sizes, kinds, actions
        )
        return Law((_expanded(component, table),), _own(actions)), (seen,)
    operator = as_operator(spec)
    expected = int(np.prod(sizes)), len(actions.labels)
    if operator.shape != expected:
        raise InvalidInputError(
            f"transitions: the law is of {operator.shape[0]} states and {operator.shape[1]} "
            f"actions where the model has {expected[0]} and {expected[1]}"
        )
    refuse_impossible(operator, panel)
    return Law((Component(operator),), _own(actions)), (None,)


def _given(
    column: str, spec: Any, size: int, num_actions: int
) -> tuple[Component, None, list[int]]:
    """The law of one column that is known, with an action of its own or all."""
    operator = as_operator(spec)
    states, own = operator.shape
    if states != size or own not in (1, num_actions):
        raise InvalidInputError(
            f"transitions[{column!r}]: expected a law of {size} states and 1 or {num_actions} "
            f"actions, got {states} and {own}"
        )
    table = list(range(num_actions)) if own == num_actions else [0] * num_actions
    return Component(operator), None, table


def _own(actions: Levels) -> tuple[tuple[int, ...], ...]:
    return tuple((a,) for a in range(len(actions.labels)))


def _expanded(component: Component, table: list[int]) -> Component:
    """A component whose actions are those of the problem."""
    if table == list(range(component.template.shape[1])):
        return component
    template = component.template
    assert isinstance(template, SuccessorList)
    successors, chances = (
        np.asarray(part)[:, table] for part in (template.successors, template.probabilities)
    )
    rows = None if component.rows is None else component.rows[:, :, table]
    return Component(SuccessorList(successors, chances), rows, component.psi)


def as_operator(spec: Any) -> TransitionOperator:
    """A law that is given: an operator, or a table (S,A,S)."""
    from sobirl.mdp import Dense

    return spec if isinstance(spec, TransitionOperator) else Dense(spec)


def refuse_impossible(operator: TransitionOperator, panel: Panel) -> None:
    """Raise if a transition was seen that has no probability."""
    rows = np.flatnonzero(panel.next >= 0)
    after = panel.state[panel.next[rows]]
    chances = np.asarray(
        operator.probability(
            jnp.asarray(panel.state[rows]), jnp.asarray(panel.action[rows]), jnp.asarray(after)
        )
    )
    refuse_first(
        ~(chances > 0),
        lambda i: (
            f"{panel.where(int(panel.next[rows[i]]))}: state {after[i]} cannot follow state "
            f"{panel.state[rows[i]]} and action {panel.action[rows[i]]} under the given law"
        ),
    )
