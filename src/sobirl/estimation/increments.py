"""Transitions by increments: one distribution of steps for all states."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sobirl.core.checks import as_float_array, check
from sobirl.core.errors import InvalidInputError
from sobirl.estimation.first_stage import Transitions, fitted, refuse_unseen
from sobirl.estimation.law import Component, Seen
from sobirl.estimation.levels import Levels, as_whole_numbers, refuse_first
from sobirl.mdp import SuccessorList


@dataclasses.dataclass(frozen=True)
class Increments(Transitions):
    """s' = min(s + j, M - 1) with probability ψ_j, j = 0, ..., count - 1, whatever s is.

    Actions may move the state first: a replacement back to 0, an order up by what is ordered. Down,
    it is s' = max(s - j, 0): a stock that is sold.

    Args:
        count: how many increments there are.
        reset: labels of the actions after which the state is that of 0: s' = j.
        column: a column of the data with the increments into each row (empty where not recorded);
            by default they are read off the states that follow one another.
        by_type: whether every observed type has increments of its own.
        probabilities: ψ (count,), if they are given and not estimated.
        moves: action -> what it adds to the state (s + move, kept within 0 to M - 1) first.
        down: whether the increments are subtracted.

    Raises:
        InvalidInputError: fewer than two increments, probabilities that are none, or moves that
            are no whole numbers.

    Source: Rust (1987), section 4.
    """

    count: int
    reset: Sequence[str | int] = ()
    column: str | None = None
    by_type: bool = False
    probabilities: Any = None
    moves: Mapping[str | int, Any] = dataclasses.field(default_factory=dict)
    down: bool = False

    def __post_init__(self):
        if not isinstance(self.count, (int, np.integer)) or self.count < 2:
            raise InvalidInputError(f"count: must be a whole number from 2, got {self.count!r}")
        for action, move in self.moves.items():
            if not isinstance(move, (int, np.integer)) or isinstance(move, bool):
                raise InvalidInputError(
                    f"moves[{action!r}]: must be a whole number of levels, got {move!r}"
                )
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
        bases, component_actions = self._bases(size, actions)
        step = np.arange(self.count) * (-1 if self.down else 1)
        successors = np.clip(bases.T[:, :, None] + step, 0, size - 1)
        by_type = self.by_type and self.probabilities is None
        rows = np.zeros((kinds, *successors.shape[:2]), np.int64)
        rows += np.arange(kinds)[:, None, None] * by_type
        if self.probabilities is not None:
            psi = np.asarray(self.probabilities, np.float64)
            template = SuccessorList(successors, np.broadcast_to(psi, successors.shape))
            return Component(template), None, component_actions
        observation, place = self._seen(panel, columns[0], bases[component_actions], size)
        row = panel.kind[observation] * by_type
        seen = Seen(observation, row, place, np.zeros((int(rows.max()) + 1, self.count)))
        refuse_unseen(seen, lambda _: "no increment was recorded")
        return fitted(successors, rows, seen), seen, component_actions

    def _bases(self, size: int, actions: Levels) -> tuple[np.ndarray, list[int]]:
        """Where the different kinds of actions leave the state (K,M), and of which kind each is."""
        resets = _places("reset", self.reset, actions)
        moves = [0] * len(actions.labels)
        for label, move in self.moves.items():
            (place,) = _places("moves", [label], actions)
            if place in resets:
                raise InvalidInputError(f"moves: {label!r} resets the state already")
            moves[place] = int(move)
        keys = [None if a in resets else moves[a] for a in range(len(moves))]
        kinds = list(dict.fromkeys(keys))
        level = np.arange(size)
        bases = [0 * level if k is None else np.clip(level + k, 0, size - 1) for k in kinds]
        return np.stack(bases), [kinds.index(key) for key in keys]

    def _seen(self, panel, column, bases, size):
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
        base = bases[panel.action[observation], panel.states[observation, column]]
        after = panel.states[panel.next[observation], column]
        # Where the last state could have been reached by several increments nothing is learned.
        told = base >= self.count - 1 if self.down else base + self.count - 1 < size
        place = base - after if self.down else after - base
        observation, place = observation[told], place[told]
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


def _places(name: str, labels: Sequence, actions: Levels) -> set[int]:
    labels = [labels] if isinstance(labels, str) else list(labels)
    for label in labels:
        if label not in actions.labels:
            raise InvalidInputError(
                f"{name}: {label!r} is no action; actions are {', '.join(map(str, actions.labels))}"
            )
    return {actions.labels.index(label) for label in labels}
