"""Panels of bus engine replacements: reading, checking, counting and writing them.

A panel is a CSV table with one row for each bus and month, in the columns

    Bus_ID    any name
    period    month, 0, 1, 2, ..., increasing within a bus
    state     mileage bin 0..89 in which the decision is taken; a bin is 5,000 miles
    usage     bins driven since the row before, 0, 1 or 2; may be empty in a bus's first row
    decision  1 if the engine is replaced, else 0

in any order; further columns are ignored. Within a bus a row's state is that of the row before
plus the row's usage, at most 89. The row after a replacement has state 0, as in Rust's data, where
the new engine's first increment is in `usage` only, or that increment. Period 0 is where the record
of a bus begins: only later rows are counted.
"""

import contextlib
import csv
import dataclasses
import importlib.resources
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from sobirl.core.checks import check, check_shape
from sobirl.core.errors import InvalidInputError
from sobirl.core.reading import read_table, shown
from sobirl.problems.rust_costs import STATES

INCREMENTS = 3
COLUMNS = ("Bus_ID", "period", "state", "usage", "decision")
NOT_RECORDED = -1

_RANGES = {
    "period": (0, 10**9, "a whole number, at least 0"),
    "state": (0, STATES - 1, f"a whole number from 0 to {STATES - 1}"),
    "usage": (0, INCREMENTS - 1, "0, 1 or 2"),
    "decision": (0, 1, "0 (keep) or 1 (replace)"),
}
# Whole numbers as spreadsheets and data frames write them: 7, 7. or 7.0.
_WHOLE_NUMBER = re.compile(r"([+-]?[0-9]{1,9})(\.0*)?", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Panel:
    """N rows, one for each bus and month; each array is (N,).

    Attributes:
        bus: names.
        period: months.
        state: mileage bins 0..89.
        usage: increments 0, 1, 2; -1 where it was not recorded.
        decision: 1 for a replacement.

    Raises:
        InvalidInputError: arrays of different lengths, an entry outside its range, or a row whose
            state does not follow from the row before.
    """

    bus: Shaped[np.ndarray, "N"]
    period: Int[np.ndarray, "N"]
    state: Int[np.ndarray, "N"]
    usage: Int[np.ndarray, "N"]
    decision: Int[np.ndarray, "N"]

    def __post_init__(self):
        for column, (low, high, right) in _RANGES.items():
            values = getattr(self, column)
            check_shape(column, values, (len(self.bus),))
            low = NOT_RECORDED if column == "usage" else low
            check(column, values, (values >= low) & (values <= high), f"must be {right}")
        before: dict[str, tuple[int, int]] = {}
        rows = zip(*(getattr(self, c).tolist() for c in ("bus", *list(_RANGES)[1:])), strict=True)
        for row, (bus, state, usage, decision) in enumerate(rows):
            wrong = bus in before and _contradiction(*before[bus], state, usage)
            if wrong:
                raise InvalidInputError(f"state: row {row}, bus {shown(str(bus))} {wrong}")
            before[bus] = state, decision

    @property
    def decision_counts(self) -> Float[np.ndarray, "90 2"]:
        """How often each state was followed by keeping and by replacing, in periods ≥ 1."""
        counts = np.zeros((STATES, 2))
        later = self.period >= 1
        np.add.at(counts, (self.state[later], self.decision[later]), 1)
        return counts

    @property
    def usage_counts(self) -> Int[np.ndarray, "3"]:
        """How often each increment was recorded, in periods ≥ 1."""
        recorded = (self.period >= 1) & (self.usage != NOT_RECORDED)
        return np.bincount(self.usage[recorded], minlength=INCREMENTS)

    @property
    def transition_probabilities(self) -> Float[np.ndarray, "3"]:
        """p_j, the share of each increment: the first stage of Rust's estimation."""
        return self.usage_counts / self.usage_counts.sum()


def group4() -> Panel:
    """Rust's bus group 4: 37 buses (GMC model 5308, 1975), 117 months.

    Source: Rust (1987), public replication data; shipped as `data/rust1987_group4.csv`.
    """
    with shipped("rust1987_group4.csv") as path:
        return load_panel(path)


def shipped(name: str) -> contextlib.AbstractContextManager[Path]:
    """The path of a file that comes with sobirl, while it is used."""
    resource = importlib.resources.files("sobirl.problems") / "data" / name
    return importlib.resources.as_file(resource)


def load_panel(path: str | Path) -> Panel:
    """The panel in a CSV file, once every row has been checked.

    Raises:
        InvalidInputError: the file cannot be read, lacks a column, has an entry that no panel can
            have or a state that does not follow from the row before (the message names line,
            column and what would be right), or has no likelihood.
    """
    panel = _parse(path)
    check_estimable(panel, str(path))
    return panel


def check_estimable(panel: Panel, name: str) -> None:
    """Raise unless the likelihood of a panel has what it takes for a maximum.

    Raises:
        InvalidInputError: nothing was kept, nothing was replaced or no increment was recorded, in
            periods ≥ 1.
    """
    keeps, replacements = panel.decision_counts.sum(axis=0)
    for count, what in ((replacements, "replacement"), (keeps, "kept engine")):
        if not count:
            raise InvalidInputError(
                f"{name}: no {what} (column decision) in any row with period 1 or later; the "
                "likelihood has no maximum then, so take more buses or periods"
            )
    if not panel.usage_counts.sum():
        raise InvalidInputError(
            f"{name}: column usage is empty in every row with period 1 or later; the transition "
            "probabilities are estimated from it"
        )


def to_csv(panel: Panel) -> str:
    """The panel as the text of a CSV file that `load_panel` reads back unchanged."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    usage = np.where(panel.usage == NOT_RECORDED, "", panel.usage.astype(str))
    writer.writerows(zip(panel.bus, panel.period, panel.state, usage, panel.decision, strict=True))
    return buffer.getvalue()


def _parse(path) -> Panel:
    header, table = read_table(path, COLUMNS)
    places = {column: header.index(column) for column in COLUMNS}
    rows: dict[str, list] = {column: [] for column in COLUMNS}
    last_period: dict[str, int] = {}
    before: dict[str, tuple[int, int]] = {}
    seen: set[tuple[str, int]] = set()

    for line, fields in table:
        where = f"{path}, line {line}"
        entries = {column: fields[place] for column, place in places.items()}
        bus = entries["Bus_ID"]
        if not bus:
            raise InvalidInputError(f"{where}, column Bus_ID: must not be empty")
        row: dict[str, Any] = {"Bus_ID": bus}
        for column in COLUMNS[1:]:
            if column == "usage" and not entries[column] and bus not in last_period:
                row[column] = NOT_RECORDED
            else:
                row[column] = _whole_number(where, column, entries[column])

        period = row["period"]
        if (bus, period) in seen:
            raise InvalidInputError(
                f"{where}, column period: bus {shown(bus)} has period {period} twice; one row a "
                "bus and period"
            )
        if period < last_period.get(bus, -1):
            raise InvalidInputError(
                f"{where}, column period: bus {shown(bus)} has period {period} after "
                f"{last_period[bus]}; the rows of a bus must be in order"
            )
        if wrong := bus in before and _contradiction(*before[bus], row["state"], row["usage"]):
            raise InvalidInputError(f"{where}, column state: bus {shown(bus)} {wrong}")
        last_period[bus] = period
        before[bus] = row["state"], row["decision"]
        seen.add((bus, period))
        for column, entry in row.items():
            rows[column].append(entry)

    arrays = [np.array(rows[column]) for column in COLUMNS]
    return Panel(*arrays)


def _contradiction(state: int, decision: int, next_state: int, usage: int) -> str:
    """What is wrong with a row's state after another row of the bus; empty if nothing is."""
    if usage == NOT_RECORDED:
        return ""
    if decision:
        if next_state in (0, usage):
            return ""
        return (
            f"has state {next_state} after a replacement; must be 0, or the new engine's usage, "
            f"{usage}"
        )
    expected = min(state + usage, STATES - 1)
    if next_state == expected:
        return ""
    return (
        f"has state {next_state} after state {state} and usage {usage}, without a replacement; "
        f"must be {expected}"
    )


def _whole_number(where: str, column: str, text: str) -> int:
    low, high, right = _RANGES[column]
    match = _WHOLE_NUMBER.fullmatch(text)
    if match is None or not low <= int(match[1]) <= high:
        first = " (it may be empty in a bus's first row only)" if column == "usage" else ""
        raise InvalidInputError(
            f"{where}, column {column}: must be {right}{first if not text else ''}, got "
            f"{shown(text) if text else 'nothing'}"
        )
    return int(match[1])
