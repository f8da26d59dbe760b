"""The table of a sweep: a row a cell, the same from whatever engine."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sobirl.core.errors import InvalidInputError
from sobirl.core.files import atomic_file
from sobirl.runs.decoding import encode
from sobirl.runs.files import csv_text, write_file
from sobirl.runs.saved import SavedRun
from sobirl.sweeps.cells import Cell, varied
from sobirl.sweeps.folder import SweepFolder

Row = dict[str, Any]

_TIMES = ("seconds", "compile_seconds", "run_seconds")
_STATE = ("cell", "command", "status", "error", "steps", *_TIMES)
# Entries of a summary that the table has otherwise.
_ELSEWHERE = ("problem", "metrics", "status", "wall_seconds", *_STATE)


class Table:
    """The rows of a sweep; what was found in cells that are done is read once.

    The columns: `cell` and `command`; the options that differ between cells and `seed`; `status`
    (done, failed, begun or left), `error`, `steps`, `seconds` and where they went; then what the
    runs found, as in their `summary.json`: `metrics.leader_value` is the entry of its `metrics`.

    Args:
        cells: those of the sweep.
        folder: where they are.
    """

    def __init__(self, cells: Sequence[Cell], folder: SweepFolder):
        self.cells, self.folder = cells, folder
        self._done: dict[str, tuple[Row, Row]] = {}

    def rows(self) -> list[Row]:
        """A row a cell, in the order of the cells, all with the same columns."""
        found = [self._done.get(cell.id) or self._read(cell) for cell in self.cells]
        # An option that is called like a column of ours: `steps` of rlhf.
        options = {n: f"option.{n}" if n in _STATE else n for n in varied(self.cells)}
        columns = dict.fromkeys([*_STATE[:2], *options.values(), *_STATE[2:]])
        columns |= dict.fromkeys(name for _, values in found for name in values)
        rows = []
        for cell, (state, values) in zip(self.cells, found, strict=True):
            given = {label: option_of(cell, name) for name, label in options.items()}
            given = {label: value for label, value in given.items() if value is not None}
            rows.append(columns | values | given | state)
        return rows

    def _read(self, cell: Cell) -> tuple[Row, Row]:
        """How far a cell is, and what its run found."""
        state = self.folder.state(cell.id)
        row: Row = {"cell": cell.id, "command": cell.command, "status": state}
        if state != "done":
            return row | {"error": self.folder.error(cell.id) or None}, {}
        try:
            summary = SavedRun.load(self.folder.run(cell.id)).summary or {}
        except InvalidInputError as error:
            return row | {"status": "failed", "error": str(error)}, {}
        row |= {name: summary.get(name) for name in _STATE[4:]}
        row["seconds"] = summary.get("wall_seconds")
        kept = {name: value for name, value in summary.items() if name not in _ELSEWHERE}
        values = {**_flat(kept), "follower_status": summary.get("status")}
        self._done[cell.id] = row, values | _flat(summary["metrics"], "metrics.")
        return self._done[cell.id]


def option_of(cell: Cell, name: str) -> Any:
    """An option of a cell as tables have it: a number, a word, JSON of a list; None for none."""
    value = encode(cell.run_options).get(name)
    if isinstance(getattr(cell.run_options, name, None), Path):
        value = cell.options[name]  # as it was written
    return json.dumps(value) if isinstance(value, list) else value


def write_table(rows: Sequence[Row], path: Path) -> list[str]:
    """Write `sweep.csv`, and `sweep.parquet` if pyarrow is installed.

    Returns:
        the names of the files.
    """
    header = list(rows[0])
    write_file(
        path / "sweep.csv", csv_text(header, ([_text(row[n]) for n in header] for row in rows))
    )
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return ["sweep.csv"]
    columns = {name: _typed([row[name] for row in rows]) for name in header}
    with atomic_file(path / "sweep.parquet") as file:
        pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return ["sweep.csv", "sweep.parquet"]


def _flat(entries: Mapping[str, Any], prefix: str = "") -> Row:
    """Entries by name, those of entries with dots; lists are left out."""
    flat: Row = {}
    for name, value in entries.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif not isinstance(value, (list, tuple)):
            flat[prefix + name] = value
    return flat


def _text(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def _typed(values: list[Any]) -> Any:
    """A column of one type: numbers, truth values, or text of whatever is mixed."""
    import pyarrow

    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pyarrow.array(values, pyarrow.string())
    if kinds <= {int, float}:
        return [float(v) if v is not None and float in kinds else v for v in values]
    if len(kinds) > 1:
        return [None if value is None else str(value) for value in values]
    return values
