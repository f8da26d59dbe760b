"""How text, JSON and CSV are written."""

import csv
import io
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sobirl.core.files import atomic_file

if TYPE_CHECKING:
    import numpy as np


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file atomically; text in UTF-8."""
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file atomically; NaN and infinities become null."""
    write_file(path, json.dumps(plain(content), indent=2, allow_nan=False) + "\n")


def plain(value):
    """`value` in the types that JSON has."""
    import numpy as np

    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def csv_text(header: Iterable[str] | None, rows: Iterable[Iterable]) -> str:
    """A table, with every digit that its numbers have."""
    import numpy as np

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header is not None:
        writer.writerow(header)
    for row in rows:
        writer.writerow([e.item() if isinstance(e, np.generic) else e for e in row])
    return text.getvalue()


def csv_rows(columns: "dict[str, np.ndarray]", first_step: int = 1) -> str:
    """One line a step."""
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return csv_text(None, ([step, *row] for step, row in enumerate(rows, start=first_step)))


def csv_header(columns: "dict[str, np.ndarray]") -> str:
    """The first line: `step` and the names of the columns."""
    return csv_text(["step", *columns], [])
