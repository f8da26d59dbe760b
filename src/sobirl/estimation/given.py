"""Transition laws that are given, and so add no error to the estimate."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from sobirl.core.errors import InvalidInputError
from sobirl.estimation.data import Panel
from sobirl.estimation.law import Component
from sobirl.estimation.levels import refuse_first
from sobirl.mdp import Dense, TransitionOperator


def as_operator(spec: Any) -> TransitionOperator:
    """A law that is given: an operator, or a table (S,A,S)."""
    return spec if isinstance(spec, TransitionOperator) else Dense(spec)


def given_law(
    where: str, spec: Any, size: int, num_actions: int, shared: bool
) -> tuple[Component, None, list[int]]:
    """The law of some columns that is known: itself, nothing seen, and which action is which.

    Args:
        where: what the user calls it.
        spec: an operator or a table.
        size: its number of states.
        num_actions: of the problem.
        shared: whether one action may stand for all.

    Raises:
        InvalidInputError: it is of other states or actions.
    """
    operator = as_operator(spec)
    states, own = operator.shape
    if states != size or not (own == num_actions or (shared and own == 1)):
        raise InvalidInputError(
            f"{where}: the law is of {states} states and {own} actions where the model has {size} "
            f"and {num_actions}{', or 1 for all' if shared else ''}"
        )
    table = list(range(num_actions)) if own == num_actions else [0] * num_actions
    return Component(operator), None, table


def laws_of_types(spec: Any) -> list[Any] | None:
    """The laws of a list of laws, or of a table (C,S,A,S); None of anything else."""
    if isinstance(spec, (list, tuple)) and not np.isscalar(spec[0] if spec else 0.0):
        nested = isinstance(spec[0], (list, tuple, np.ndarray, jax.Array))
        return list(spec) if not nested or np.ndim(spec[0]) == 3 else None
    is_array = isinstance(spec, (np.ndarray, jax.Array))
    return list(spec) if is_array and np.ndim(spec) == 4 else None


def of_types(
    where: str, parts: Sequence[tuple[Component, list[int]]], kinds: int
) -> tuple[Component, None, list[int]]:
    """One component of the known laws of all types.

    Raises:
        InvalidInputError: there is not one for every type, or they differ in more than numbers.
    """
    if len(parts) != kinds:
        raise InvalidInputError(
            f"{where}: a list has a law for every type, of which there are {kinds}; got "
            f"{len(parts)}"
        )
    laws = [component.template for component, _ in parts]
    forms = {(jax.tree.structure(law), *map(np.shape, jax.tree.leaves(law))) for law in laws}
    if len(forms) > 1 or any(table != parts[0][1] for _, table in parts):
        raise InvalidInputError(f"{where}: the types' laws must be of the same kind and shape")
    given = jax.tree.map(lambda *leaves: jnp.stack(leaves), *laws)
    return Component(laws[0], given=given), None, parts[0][1]


def refuse_contradiction(
    component: Component, state: Int[np.ndarray, "N"], action: Int[np.ndarray, "N"], panel: Panel
) -> None:
    """Raise if a panel has moves that the law of its type does not have.

    Args:
        component: the law of some columns of the state.
        state: the state of these columns in every row.
        action: which of the law's own actions was taken there.
        panel: who moved from where to where.
    """
    if component.given is None:
        refuse_impossible(component.template, state, action, panel, panel.next >= 0)
        return
    for kind in np.unique(panel.kind):
        rows = (panel.next >= 0) & (panel.kind == kind)
        refuse_impossible(component.law(int(kind)), state, action, panel, rows)


def refuse_impossible(
    law: TransitionOperator,
    state: Int[np.ndarray, "N"],
    action: Int[np.ndarray, "N"],
    panel: Panel,
    moves: Bool[np.ndarray, "N"],
) -> None:
    """Raise if one of the rows that `moves` says has a transition of no probability."""
    rows = np.flatnonzero(moves)
    after = state[panel.next[rows]]
    chances = np.asarray(
        law.probability(jnp.asarray(state[rows]), jnp.asarray(action[rows]), jnp.asarray(after))
    )
    refuse_first(
        ~(chances > 0),
        lambda i: (
            f"{panel.where(int(panel.next[rows[i]]))}: state {after[i]} cannot follow state "
            f"{state[rows[i]]} and action {panel.action[rows[i]]} under the given law"
        ),
    )
