"""States, actions and types as the columns of a table say them, and as numbers 0, 1, 2, ..."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from sobirl.core.errors import InvalidInputError
from sobirl.core.reading import listed

Where = Callable[[int], str]


@dataclasses.dataclass(frozen=True)
class Bins:
    """Bins of a continuous column: state i is e_i ≤ value < e_{i+1}; functions see its midpoint.

    Args:
        edges: e_0 < e_1 < ... < e_n, n ≥ 1; the last bin has its upper edge too.

    Raises:
        InvalidInputError: edges that do not increase, or fewer than two.
    """

    edges: Any

    def __post_init__(self):
        try:
            edges = np.asarray(self.edges, np.float64)
        except (TypeError, ValueError):
            edges = np.empty(0)
        if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0):
            raise InvalidInputError(
                f"edges: expected at least two increasing numbers, got {self.edges!r}"
            )

    @property
    def values(self) -> np.ndarray:
        """Midpoints (n,)."""
        edges = np.asarray(self.edges, np.float64)
        return (edges[:-1] + edges[1:]) / 2

    def codes(self, name: str, column: np.ndarray, where: Where) -> Int[np.ndarray, "N"]:
        """The bin of every entry."""
        edges = np.asarray(self.edges, np.float64)
        numbers = as_numbers(name, column, where)
        refuse_first(
            (numbers < edges[0]) | (numbers > edges[-1]),
            lambda i: (
                f"{where(i)}, column {name}: {numbers[i]:g} is outside the bins, which go "
                f"from {edges[0]:g} to {edges[-1]:g}"
            ),
        )
        return np.minimum(np.searchsorted(edges, numbers, side="right") - 1, len(edges) - 2)


@dataclasses.dataclass(frozen=True)
class Quantiles:
    """Bins of a continuous column between its quantiles in the data, about equally full.

    Args:
        count: how many.

    Raises:
        InvalidInputError: fewer than one.
    """

    count: int

    def __post_init__(self):
        if not isinstance(self.count, int) or self.count < 1:
            raise InvalidInputError(f"count: must be a whole number from 1, got {self.count!r}")

    def resolve(self, name: str, column: np.ndarray, where: Where) -> Bins:
        """The bins of a column."""
        numbers = as_numbers(name, column, where)
        edges = np.unique(np.quantile(numbers, np.linspace(0, 1, self.count + 1)))
        if len(edges) < self.count + 1 or len(np.unique(numbers)) < self.count:
            raise InvalidInputError(
                f"column {name}: has too few different numbers for {self.count} quantiles; take "
                "fewer, or give its levels"
            )
        return Bins(tuple(edges.tolist()))


@dataclasses.dataclass(frozen=True)
class Levels:
    """The values that a column may have, in order; state i is the i-th of them."""

    labels: tuple
    numbered: bool = False

    @property
    def values(self) -> np.ndarray:
        """The labels (n,)."""
        return np.asarray(self.labels)

    def codes(self, name: str, column: np.ndarray, where: Where) -> Int[np.ndarray, "N"]:
        """The place of every entry among the labels.

        Entries may be the places themselves where no label is a number.
        """
        if column.dtype.kind in "iufb":  # few different numbers in many rows
            different, of_row = np.unique(column, return_inverse=True)
        else:
            different, of_row = column, slice(None)
        places = {label: i for i, label in enumerate(self.labels)}
        plain = [_plain(entry) for entry in different.tolist()]
        found = [places.get(entry, -1) for entry in plain]
        if -1 in found and all(isinstance(label, str) for label in self.labels):
            found = [
                int(entry)
                if isinstance(entry, (int, float)) and entry in range(len(self.labels))
                else place
                for entry, place in zip(plain, found, strict=True)
            ]
        codes = np.array(found, dtype=np.int64)[of_row]
        right = (
            f"0 to {len(self.labels) - 1}"
            if self.numbered
            else listed([str(label) for label in self.labels])
        )
        refuse_first(
            codes < 0,
            lambda i: (
                f"{where(i)}, column {name}: must be {'' if self.numbered else 'one of '}"
                f"{right}, got {_shown(column[i])}"
            ),
        )
        return codes


Space = Bins | Levels


def as_space(name: str, spec: Any) -> Space | Quantiles:
    """What a user says of a column: a number of levels, the levels, or bins.

    Raises:
        InvalidInputError: none of these.
    """
    if isinstance(spec, (Bins, Quantiles, Levels)):
        return spec
    if isinstance(spec, (int, np.integer)) and not isinstance(spec, bool) and spec >= 1:
        return Levels(tuple(range(int(spec))), numbered=True)
    if isinstance(spec, (Sequence, np.ndarray, range)) and not isinstance(spec, str) and len(spec):
        labels = tuple(_plain(label) for label in np.asarray(spec).tolist())
        if len(set(labels)) < len(labels):
            raise InvalidInputError(
                f"{name}: a level is there twice, in {listed([str(label) for label in labels])}"
            )
        return Levels(labels)
    raise InvalidInputError(
        f"{name}: expected a number of levels, the levels themselves, Bins(edges) or "
        f"Quantiles(count), got {spec!r}"
    )


def as_spaces(name: str, specs: Any, unnamed: str | None) -> dict[str, Space | Quantiles]:
    """Column -> levels or bins; a single specification belongs to the column `unnamed`."""
    if isinstance(specs, Mapping):
        if not specs:
            raise InvalidInputError(f"{name}: expected at least one column")
        return {str(column): as_space(f"{name}[{column!r}]", s) for column, s in specs.items()}
    if unnamed is None:
        raise InvalidInputError(f"{name}: expected column -> levels, got {specs!r}")
    return {unnamed: as_space(name, specs)}


def as_numbers(name: str, column: np.ndarray, where: Where) -> np.ndarray:
    """A column as finite numbers.

    Raises:
        InvalidInputError: an entry is none, with its row.
    """
    if column.dtype.kind in "iufb":
        numbers = column.astype(np.float64)
    else:
        numbers = np.array([_number(entry) for entry in column.tolist()], np.float64)
    refuse_first(
        ~np.isfinite(numbers),
        lambda i: f"{where(i)}, column {name}: must be a number, got {_shown(column[i])}",
    )
    return numbers


def as_whole_numbers(name: str, column: np.ndarray, where: Where) -> Int[np.ndarray, "N"]:
    """A column as whole numbers."""
    numbers = as_numbers(name, column, where)
    refuse_first(
        (numbers != np.round(numbers)) | (np.abs(numbers) > 2**53),
        lambda i: f"{where(i)}, column {name}: must be a whole number, got {_shown(column[i])}",
    )
    return numbers.astype(np.int64)


def refuse_first(wrong: Shaped[np.ndarray, "N"], message: Callable[[int], str]) -> None:
    """Raise for the first row that is wrong, and say how many more there are."""
    rows = np.flatnonzero(wrong)
    if len(rows):
        more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
        raise InvalidInputError(message(int(rows[0])) + more)


def _plain(entry: Any) -> Any:
    """7 for 7.0 and "7": numbers are alike however a file writes them."""
    if isinstance(entry, (bool, np.bool_)):
        return int(entry)
    number = _number(entry)
    if math.isnan(number):
        return entry.strip() if isinstance(entry, str) else entry
    return int(number) if number.is_integer() else number


def _number(entry: Any) -> float:
    try:
        return float(entry)
    except (TypeError, ValueError):
        return math.nan


def _shown(entry: Any) -> str:
    missing = entry is None or entry == "" or (isinstance(entry, float) and math.isnan(entry))
    return "nothing" if missing else repr(entry.item() if hasattr(entry, "item") else entry)


def sizes(spaces: Mapping[str, Space]) -> tuple[int, ...]:
    """The numbers of levels."""
    return tuple(len(space.values) for space in spaces.values())


def size(spaces: Mapping[str, Space]) -> int:
    """The number of their combinations."""
    return int(np.prod(sizes(spaces), dtype=np.int64))


def size_of(columns: Mapping[str, np.ndarray]) -> int:
    """The number of rows of columns; 1 without any."""
    return len(next(iter(columns.values()))) if columns else 1


def state_columns(spaces: Mapping[str, Space]) -> dict[str, np.ndarray]:
    """Each column's value in every combination (S,); the place, where labels are no numbers."""
    grids = np.indices(sizes(spaces)).reshape(len(spaces), -1) if spaces else ()
    columns = {}
    for (column, space), place in zip(spaces.items(), grids, strict=True):
        values = space.values
        columns[column] = (values if values.dtype.kind in "iufb" else np.arange(len(values)))[place]
    return columns
