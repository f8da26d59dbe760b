"""Tabular problems as two CSV files: transitions and rewards.

The transitions have the columns

    state, action     any names
    next_state        a state; one that is in no row's `state` is terminal: there episodes end
    probability       of the step; those of a state and an action sum to 1

and the rewards

    state             where they are earned
    action            optional; empty: by every action
    next_state        optional; empty: wherever the step leads
    reward            optional; the follower's, whatever x is
    leader_reward     the leader's
    any other name    a feature: what one unit of an entry of x gives the follower

An empty number is 0. Rows add up: one for a state and one for the state and an action both count.
Columns may be in any order; further ones of the transitions are ignored. An action that has no row
in a state is not available there.
"""

import dataclasses
import math
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from sobirl.core.checks import check
from sobirl.core.errors import InvalidInputError
from sobirl.core.reading import about, read_table, shown, suggestion
from sobirl.problems.tabular.checks import (
    RESERVED,
    check_names,
    check_size,
    check_sums,
    is_name,
)
from sobirl.problems.tabular.problem import Tabular, transition_operator

TRANSITIONS = ("state", "action", "next_state", "probability")
REWARDS = ("state", "leader_reward")
_OPTIONAL = ("action", "next_state", "reward")


@dataclasses.dataclass(frozen=True)
class _Steps:
    """The transitions.

    Attributes:
        states: the place of each of S names.
        actions: the place of each of A names.
        chances: P(s'|s,a) > 0 by the places (s, a, s').
        available: the actions of each state (S,A).
    """

    states: dict[str, int]
    actions: dict[str, int]
    chances: dict[tuple[int, int, int], float]
    available: Bool[np.ndarray, "S A"]


def read_csv(transitions: str | Path, rewards: str | Path) -> Tabular:
    """The problem in two files, with the default discount, temperature and transfer.

    States and actions are in the order of their first rows, terminal states last, features in the
    order of their columns. The first state is uniform over those that are not terminal.

    Raises:
        InvalidInputError: a file cannot be read or has an entry that no problem has.
    """
    steps = _read_steps(transitions)
    features, table = _read_rewards(rewards, steps)
    terminal = np.logical_not(steps.available.any(axis=1))
    indices, chances = np.array(list(steps.chances)).T, np.array([*steps.chances.values()])
    with about(transitions):
        transition = transition_operator(steps.available, *indices, chance=chances)
    return Tabular(
        transition=transition,
        reward=table[..., 0],
        features=table[..., 2:],
        leader_reward=table[..., 1],
        initial=~terminal / (~terminal).sum(),
        available=steps.available,
        terminal=terminal,
        states=tuple(steps.states),
        actions=tuple(steps.actions),
        feature_names=features,
    )


def _read_steps(path) -> _Steps:
    header, rows = read_table(path, TRANSITIONS)
    places = [header.index(column) for column in TRANSITIONS]
    chances: dict[tuple[str, ...], float] = {}
    lines: dict[tuple[str, ...], int] = {}
    origins: dict[str, None] = {}
    seen: set[str] = set()
    for line, fields in rows:
        where = f"{path}, line {line}"
        *step, chance = (fields[place] for place in places)
        for column, name in zip(TRANSITIONS, step, strict=False):
            if not is_name(name):
                raise InvalidInputError(
                    f"{where}, column {column}: must be a name on one line, got {_shown(name)}"
                )
        step = tuple(step)
        if step in chances:
            raise InvalidInputError(
                f"{where}: {_described(*step)} is there already, in line {lines[step]}"
            )
        chances[step], lines[step] = _probability(where, chance), line
        origins[step[0]] = None
        seen.update((step[0], step[2]))

    states = _places([*origins, *(step[2] for step in chances)])
    actions = _places(step[1] for step in chances)
    check_size(f"{path}", (len(states), len(actions)))
    numbered = {(states[s], actions[a], states[t]): p for (s, a, t), p in chances.items()}
    sums: dict[tuple[int, int], float] = {}
    for (state, action, _), chance in numbered.items():
        sums[state, action] = sums.get((state, action), 0.0) + chance
    pairs = np.array(list(sums))
    with about(path):
        check_sums(pairs, np.array([*sums.values()]), tuple(states), tuple(actions))
    normalized = {step: chance / sums[step[:2]] for step, chance in numbered.items() if chance > 0}
    available = np.zeros((len(states), len(actions)), dtype=bool)
    available[pairs[:, 0], pairs[:, 1]] = True
    return _Steps(states, actions, normalized, available)


def _read_rewards(path, steps: _Steps) -> tuple[tuple[str, ...], Float[np.ndarray, "S A m"]]:
    """The names of n features, and the table (S,A,2+n): reward, leader_reward, features."""
    header, rows = read_table(path, REWARDS, _OPTIONAL)
    if not all(header):
        raise InvalidInputError(f"{path}, header: column {header.index('') + 1} has no name")
    features = tuple(name for name in header if name not in (*REWARDS, *_OPTIONAL))
    if not features:
        raise InvalidInputError(
            f"{path}, header: must have a column for each entry of x, saying what x gives the "
            f"follower; got {shown(','.join(header))}"
        )
    check_names(f"{path}, header", features, len(features), RESERVED)
    shape = (*steps.available.shape, 2 + len(features))
    check_size(f"{path}", shape)

    table = np.zeros(shape)
    lines: dict[tuple[str, ...], int] = {}
    for line, fields in rows:
        where = f"{path}, line {line}"
        row = dict(zip(header, fields, strict=True))
        key = tuple(row.get(column, "") for column in ("state", "action", "next_state"))
        if key in lines:
            raise InvalidInputError(
                f"{where}: {_described(*key)} is there already, in line {lines[key]}"
            )
        lines[key] = line
        state, actions, weights = _weights(where, *key, steps=steps)
        values = [
            _number(where, column, row.get(column, ""))
            for column in ("reward", "leader_reward", *features)
        ]
        with np.errstate(over="ignore", invalid="ignore"):
            table[state, actions] += np.outer(weights, values)
    check(f"{path}: the sums of rows", table, np.isfinite(table), "must be finite")
    return features, table


def _weights(
    where: str, state: str, action: str, target: str, steps: _Steps
) -> tuple[int, Int[np.ndarray, "K"], Float[np.ndarray, "K"]]:
    """The state and the K actions that a row of rewards is for, and the weight of each action."""
    origin = _place(where, "state", state, steps.states)
    allowed = steps.available[origin]
    if not allowed.any():
        raise InvalidInputError(
            f"{where}, column state: {shown(state)} ends the episode, nothing is earned there; put "
            f"the reward on the steps into it, with {shown(state)} as next_state"
        )
    actions = np.flatnonzero(allowed)
    if action:
        actions = np.array([_place(where, "action", action, steps.actions)])
        if not allowed[actions[0]]:
            raise InvalidInputError(
                f"{where}, column action: {shown(action)} is not available in state "
                f"{shown(state)}; the transitions have no row for it"
            )
    if not target:
        return origin, actions, np.ones(len(actions))
    end = _place(where, "next_state", target, steps.states)
    weights = np.array([steps.chances.get((origin, a, end), 0.0) for a in actions.tolist()])
    if not weights.any():
        raise InvalidInputError(
            f"{where}, column next_state: {_described(state, action, target)} has probability 0"
        )
    return origin, actions, weights


def _described(state: str, action: str, target: str) -> str:
    """What a row is for."""
    by = f", action {shown(action)}" if action else ""
    to = f", next_state {shown(target)}" if target else ""
    return f"state {shown(state)}{by}{to}"


def _places(names) -> dict[str, int]:
    """The place of each name among the different ones."""
    return {name: place for place, name in enumerate(dict.fromkeys(names))}


def _place(where: str, column: str, name: str, places: dict[str, int]) -> int:
    if name not in places:
        what = "is not in the transitions" if name else "must not be empty"
        raise InvalidInputError(
            f"{where}, column {column}: {f'{shown(name)} ' if name else ''}{what}"
            f"{suggestion(name, places)}"
        )
    return places[name]


def _probability(where: str, text: str) -> float:
    value = _parsed(text)
    if not 0 <= value <= 1:
        raise InvalidInputError(
            f"{where}, column probability: must be a number from 0 to 1, got {_shown(text)}"
        )
    return value


def _number(where: str, column: str, text: str) -> float:
    value = _parsed(text) if text else 0.0
    if not math.isfinite(value):
        column = column if column in RESERVED else shown(column)
        raise InvalidInputError(
            f"{where}, column {column}: must be a finite number, got {_shown(text)}"
        )
    return value


def _parsed(text: str) -> float:
    """The number, or NaN. Digits of other scripts and 1_000 are no numbers here."""
    try:
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


def _shown(text: str) -> str:
    return shown(text) if text else "nothing"
