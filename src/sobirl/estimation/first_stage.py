"""The first stage: transition laws from the data.

A law has rows of probabilities ψ_r (K,), one for every set of states, actions and types that share
them, and says where the k-th of them leads:

    P(successors(s,a,k) | s,a) = ψ_{row(s,a), k}

so that increments of mileage (one row for all), frequencies by state and action (a row each) and
laws by type are the same thing. The maximum-likelihood estimate of a row is its frequencies.
"""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from sobirl.core.errors import InvalidInputError
from sobirl.estimation.data import Panel
from sobirl.estimation.given import given_law, laws_of_types, of_types, refuse_contradiction
from sobirl.estimation.law import Component, Law, Seen
from sobirl.estimation.levels import Levels
from sobirl.mdp import SuccessorList


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


def fitted(successors, rows, seen: Seen) -> Component:
    """A component with the frequencies of what was seen."""
    psi = seen.frequencies()
    template = SuccessorList(successors, psi[rows[0]])
    return Component(template, rows, jnp.asarray(psi))


def refuse_unseen(seen: Seen, what) -> None:
    """Raise if a row of ψ has neither observations nor pseudo-observations."""
    empty = np.flatnonzero((seen.counts + seen.prior).sum(axis=1) == 0)
    if len(empty):
        more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
        raise InvalidInputError(
            f"transitions: {what(int(empty[0]))}{more}; ask for smoothing, take Increments, or "
            "give the law"
        )


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
        spec: a `Transitions` of all columns, an operator, a table (S,A,S), or a list of given ones,
            one a type; or a mapping from columns that move independently to these.
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
            _checked(f"transitions[{name!r}]", spec[name], panel, [i], [sizes[i]], kinds, actions)
            for i, name in enumerate(columns)
        ]
        components, seen, tables = zip(*parts, strict=True)
        return Law(components, tuple(zip(*tables, strict=True))), seen
    every = list(range(len(columns)))
    component, seen, table = _checked("transitions", spec, panel, every, sizes, kinds, actions)
    return Law((_expanded(component, table),), _own(actions)), (seen,)


def _checked(where: str, spec: Any, panel, columns, sizes, kinds, actions):
    """As `_component`, once the data are known not to contradict a law that is given."""
    component, seen, table = _component(where, spec, panel, columns, sizes, kinds, actions)
    if component.rows is None:
        state = np.ravel_multi_index(tuple(panel.states[:, columns].T), tuple(sizes))
        refuse_contradiction(component, state, np.asarray(table)[panel.action], panel)
    return component, seen, table


def _component(
    where: str, spec: Any, panel, columns, sizes, kinds, actions
) -> tuple[Component, Seen | None, list[int]]:
    """The law of some columns, what was seen of it, and which of its actions each action is."""
    laws = laws_of_types(spec)
    if laws is not None:
        parts = [_component(where, own, panel, columns, sizes, kinds, actions) for own in laws]
        if any(seen is not None for _, seen, _ in parts):
            raise InvalidInputError(
                f"{where}: a list has laws that are given, one a type; estimated ones have by_type"
            )
        return of_types(where, [(component, table) for component, _, table in parts], kinds)
    if isinstance(spec, Transitions):
        return spec.component(panel, columns, sizes, kinds, actions)
    # The law of a column may have one action for all.
    shared = where != "transitions"
    return given_law(where, spec, int(np.prod(sizes)), len(actions.labels), shared)


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
