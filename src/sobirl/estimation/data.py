"""Panels: who was when in which state, chose what, and where that led."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from sobirl.core.errors import InvalidInputError
from sobirl.core.reading import listed, read_table, shown, suggestion
from sobirl.estimation.levels import (
    Levels,
    Quantiles,
    Space,
    Where,
    as_whole_numbers,
    refuse_first,
)


@dataclasses.dataclass(frozen=True)
class Table:
    """Columns of equal length, and what a message calls a row of them."""

    columns: dict[str, np.ndarray]
    where: Where

    def __getitem__(self, column: str) -> np.ndarray:
        return self.columns[column]

    def from_period(self, period: str, first: int) -> "Table":
        """The rows of that period and later ones.

        Raises:
            InvalidInputError: there are none, or a period is no whole number.
        """
        rows = np.flatnonzero(as_whole_numbers(period, self[period], self.where) >= first)
        if not len(rows):
            raise InvalidInputError(f"first_period: no row has period {first} or a later one")
        columns = {name: values[rows] for name, values in self.columns.items()}
        return Table(columns, lambda i: self.where(int(rows[i])))


@dataclasses.dataclass(frozen=True)
class Panel:
    """N decisions, sorted by unit and period. Everything is a number from 0.

    Attributes:
        unit: whose (N,).
        unit_names: what the data call them (U,).
        period: when (N,).
        kind: observed type of the unit (N,).
        states: the state, column by column (N,K).
        state: the state as one number (N,), the last column fastest.
        action: what was chosen (N,).
        next: the row of the unit's next period (N,); -1 where there is none.
        extra: further columns by name.
        where: what a message calls a row.
    """

    unit: Int[np.ndarray, "N"]
    unit_names: np.ndarray
    period: Int[np.ndarray, "N"]
    kind: Int[np.ndarray, "N"]
    states: Int[np.ndarray, "N K"]
    state: Int[np.ndarray, "N"]
    action: Int[np.ndarray, "N"]
    next: Int[np.ndarray, "N"]
    extra: dict[str, np.ndarray]
    where: Where

    def __len__(self) -> int:
        return len(self.unit)

    @property
    def num_units(self) -> int:
        """U."""
        return len(self.unit_names)


def read_columns(data: Any, columns: Sequence[str]) -> Table:
    """Columns of a pandas or polars frame, a mapping of arrays, or a CSV file.

    Raises:
        InvalidInputError: it is none of these, a column is missing, or there are no rows.
    """
    columns = list(dict.fromkeys(columns))
    if isinstance(data, (str, Path)):
        header, rows = read_table(data, columns)
        places = [header.index(column) for column in columns]
        lines, fields = [], []
        for line, row in rows:
            lines.append(line)
            fields.append([row[place] for place in places])
        found = dict(zip(columns, (_typed(c) for c in zip(*fields, strict=True)), strict=True))
        return Table(found, lambda i: f"{data}, line {lines[i]}")
    names = list(data) if isinstance(data, Mapping) else getattr(data, "columns", None)
    if names is None:
        raise InvalidInputError(
            "data: expected a pandas or polars frame, a mapping of columns or the path of a CSV "
            f"file, got {type(data).__name__}"
        )
    names = [str(name) for name in names]
    for column in columns:
        if column not in names:
            raise InvalidInputError(
                f"data: there is no column {shown(column)}{suggestion(column, names)}; there are "
                f"{listed(names, 8)}"
            )
    found = {column: np.asarray(data[column]) for column in columns}
    sizes = {values.shape for values in found.values()}
    if len(sizes) > 1 or len(next(iter(sizes))) != 1:
        raise InvalidInputError(f"data: columns of different shapes, {sorted(sizes)}")
    if not next(iter(sizes))[0]:
        raise InvalidInputError("data: has no rows")
    return Table(found, lambda i: f"data, row {i}")


def _typed(column: Sequence[str]) -> np.ndarray:
    """Numbers, if all entries are."""
    try:
        return np.array([float(entry) for entry in column])
    except ValueError:
        return np.array(column)


def resolve(
    spaces: Mapping[str, Space | Quantiles], table: Table, names: Mapping[str, str]
) -> dict[str, Space]:
    """The same with the quantiles' bins, now that there are data."""
    return {
        column: space.resolve(names[column], table[names[column]], table.where)
        if isinstance(space, Quantiles)
        else space
        for column, space in spaces.items()
    }


def as_panel(
    table: Table,
    *,
    unit: str,
    period: str,
    action: str,
    states: Mapping[str, Space],
    kinds: Mapping[str, Space],
    actions: Levels,
    extra: Sequence[str] = (),
    gaps: str = "error",
) -> Panel:
    """The panel of a table, once every row has been checked.

    Args:
        table: the columns.
        unit: the column of units.
        period: that of periods.
        action: that of choices.
        states: column -> levels, of the states.
        kinds: the same of the units' types.
        actions: the levels of the action.
        extra: further columns that are kept.
        gaps: whether a unit may lack periods: "error", or "split" for no transition over a gap.

    Raises:
        InvalidInputError: an entry that is none of its levels, a period that is there twice, a
            gap, or a type that changes within a unit; with the first such row.
    """
    if gaps not in ("error", "split"):
        raise InvalidInputError(f"gaps: expected 'error' or 'split', got {gaps!r}")
    who = table[unit]
    missing = np.array([entry is None or entry != entry or entry == "" for entry in who.tolist()])
    refuse_first(missing, lambda i: f"{table.where(i)}, column {unit}: must not be empty")
    if who.dtype.kind == "f" and (np.abs(who) < 2**53).all() and (who % 1 == 0).all():
        who = who.astype(np.int64)  # a file's numbers, by the names that they have there
    try:
        unit_names, unit_codes = np.unique(who, return_inverse=True)
    except TypeError:
        unit_names, unit_codes = np.unique(who.astype(str), return_inverse=True)
    periods = as_whole_numbers(period, table[period], table.where)
    order = np.lexsort((periods, unit_codes))

    def codes(spaces):
        found = [space.codes(c, table[c], table.where)[order] for c, space in spaces.items()]
        sizes = [len(space.values) for space in spaces.values()]
        if not found:
            return np.zeros((len(order), 0), np.int64), np.zeros(len(order), np.int64)
        return np.stack(found, axis=1), np.ravel_multi_index(tuple(found), sizes)

    def where(i):
        return table.where(int(order[i]))

    components, state = codes(states)
    kind = codes(kinds)[1]
    chosen = actions.codes(action, table[action], table.where)[order]
    unit_codes, periods = unit_codes[order], periods[order]

    same = unit_codes[1:] == unit_codes[:-1]
    step = np.diff(periods)

    def name(i):
        return f"{where(i + 1)}, column {period}: {unit} {_text(unit_names[unit_codes[i]])}"

    refuse_first(same & (step == 0), lambda i: f"{name(i)} has period {periods[i]} twice")
    if gaps == "error":
        refuse_first(
            same & (step > 1),
            lambda i: (
                f"{name(i)} goes from period {periods[i]} to {periods[i + 1]}; fill the "
                "gap, or ask for gaps='split', which reads no transition from it"
            ),
        )
    refuse_first(
        same & (kind[1:] != kind[:-1]),
        lambda i: (
            f"{where(i + 1)}: {unit} {_text(unit_names[unit_codes[i]])} is of another type "
            f"({', '.join(kinds)}) than in its row before; a type never changes"
        ),
    )
    following = np.full(len(order), -1)
    following[:-1][same & (step == 1)] = np.flatnonzero(same & (step == 1)) + 1
    return Panel(
        unit=unit_codes,
        unit_names=unit_names,
        period=periods,
        kind=kind,
        states=components,
        state=state,
        action=chosen,
        next=following,
        extra={column: table[column][order] for column in extra},
        where=where,
    )


def check_choices(panel: Panel, actions: Levels) -> None:
    """Raise unless every action was chosen by somebody.

    Raises:
        InvalidInputError: with the action.
    """
    counts = np.bincount(panel.action, minlength=len(actions.labels))
    for label, count in zip(actions.labels, counts, strict=True):
        if not count:
            raise InvalidInputError(
                f"data: nobody ever chooses {label!r}; the likelihood has no maximum then, so "
                "leave the action out or take more data"
            )


def _text(name: Any) -> str:
    return shown(str(name))
