"""Reading users' files: CSV tables and `.npz` arrays, with one clear error for all that is neither.

Every message is one line, begins with the file and quotes what stands there.
"""

import contextlib
import csv
import difflib
import io
import math
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from sobirl.core.errors import InvalidInputError

# What the arrays of one file may take, in bytes, once they are double precision.
MAX_BYTES = 2 * 10**9

_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_table(
    path: str | Path, columns: Collection[str], optional: Collection[str] = ()
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The header of a CSV file, and an iterator over its rows: (line where it begins, fields).

    All names and fields are stripped; blank lines are left out.

    Raises:
        InvalidInputError: the file cannot be read or has no header, one of `columns` is missing,
            or one of them or of the `optional` ones is there twice; while iterating: not CSV,
            another number of fields than the header has, or no rows.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    lines = _lines(path, reader)
    line, header = next(lines, (0, None))
    if header is None:
        raise InvalidInputError(f"{path}: is empty; expected a CSV file with a header")
    for column in (*columns, *optional):
        if column not in header and column in columns:
            raise InvalidInputError(
                f"{path}, line {line}: there is no column {column}; expected "
                f"{', '.join(columns)} separated by commas, got {shown(','.join(header))}"
            )
        if header.count(column) > 1:
            raise InvalidInputError(f"{path}, line {line}: column {column} is there more than once")
    return header, _rows(path, len(header), lines)


def _rows(path, width: int, lines: Iterator[tuple[int, list[str]]]) -> Iterator:
    line = None
    for line, fields in lines:
        if len(fields) != width:
            raise InvalidInputError(
                f"{path}, line {line}: has {len(fields)} fields where the header has {width}"
            )
        yield line, fields
    if line is None:
        raise InvalidInputError(f"{path}: has a header but no rows")


def _lines(path, reader) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not blank. A quoted field may go over several: the first one counts."""
    begin = 1
    try:
        for fields in reader:
            fields = [field.strip() for field in fields]
            if any(fields):
                yield begin, fields
            begin = reader.line_num + 1
    except csv.Error as error:
        raise InvalidInputError(f"{path}, line {reader.line_num}: not CSV ({error})") from error


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Raises:
        InvalidInputError: it is missing, no regular file, not text or cannot be read.
    """
    try:
        with _open(path, "; give a CSV file") as file:
            return file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path}: is not a text file (UTF-8); give a CSV file") from None


def read_arrays(
    path: str | Path,
    names: Collection[str],
    *,
    others_allowed: bool = False,
    check_shapes: Callable[[dict[str, tuple[int, ...]]], None] | None = None,
) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` that have one of the names.

    Only headers are read until `check_shapes` has seen the shapes and the sizes have passed.

    Raises:
        InvalidInputError: no such file, not an `.npz`, damaged, too large, an array made of
            objects, or with another name; or what `check_shapes` raises, after the path.
    """
    with _archive(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        for name in members:
            if name not in names and not others_allowed:
                raise InvalidInputError(
                    f"{path}: holds an array {shown(name)}, which has no meaning here"
                    f"{suggestion(name, names)}; known are {', '.join(names)}"
                )
        members = {name: info for name, info in members.items() if name in names}
        shapes, size = {}, 0
        for name, info in members.items():
            with archive.open(info) as file:
                version = np.lib.format.read_magic(file)
                shapes[name], _, dtype = _HEADER_READERS[version](file)
            if dtype.hasobject:
                raise InvalidInputError(f"{path}: {name} holds Python objects, never loaded here")
            if min(shapes[name], default=0) < 0:
                raise InvalidInputError(f"{path}: {name} has a negative size")
            size += math.prod(shapes[name]) * max(dtype.itemsize, 8)
        if check_shapes is not None:
            with about(path):
                check_shapes(shapes)
        if size > MAX_BYTES:
            raise InvalidInputError(
                f"{path}: its arrays take {size / 1e9:.3g} GB of memory; at most "
                f"{MAX_BYTES / 1e9:g} GB are loaded"
            )
        arrays = {}
        for name, info in members.items():
            with archive.open(info) as file:
                arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
        return arrays


@contextlib.contextmanager
def _archive(path: str | Path) -> Iterator[zipfile.ZipFile]:
    """An `.npz`, opened; whatever its reading raises becomes one error."""
    try:
        with _open(path, " (not a readable .npz)") as file:
            start = file.read(6)
            if start == np.lib.format.MAGIC_PREFIX:
                raise InvalidInputError(
                    f"{path}: holds a single array, expected an .npz of several"
                )
            if start and not start.startswith(b"PK"):
                raise InvalidInputError(f"{path}: is not an .npz")
            with zipfile.ZipFile(file) as archive:
                yield archive
    except InvalidInputError:
        raise
    except Exception as error:  # zipfile, its decompressors and NumPy raise a dozen kinds
        raise InvalidInputError(
            f"{path}: is not a readable .npz ({type(error).__name__})"
        ) from error


def _open(path: str | Path, advice: str) -> IO[bytes]:
    path = Path(path)
    try:
        if path.is_dir():
            raise InvalidInputError(f"{path}: is a directory{advice}")
        if path.exists() and not path.is_file():  # a pipe would be empty when read again
            raise InvalidInputError(f"{path}: is not a regular file{advice}")
        return path.open("rb")
    except InvalidInputError:
        raise
    except FileNotFoundError:
        raise InvalidInputError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:  # ValueError: no file can have such a name
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"{shown(str(path))}: cannot be read ({reason})") from error


@contextlib.contextmanager
def about(path: str | Path) -> Iterator[None]:
    """Names the file in what is found to be wrong with its content."""
    try:
        yield
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from None


def shown(text: str) -> str:
    """`text` for a message: quoted, and not longer than a line."""
    quoted = repr(text[:100])
    return quoted if len(quoted) <= 60 else f"{quoted[:56]}...{quoted[0]}"


def listed(names: Collection[str], most: int = 5) -> str:
    """Names for a message: the first ones, and how many more there are."""
    first = ", ".join(shown(name) for name in list(names)[:most])
    return f"{first} and {len(names) - most} more" if len(names) > most else first


def suggestion(name: str, names: Iterable[str]) -> str:
    """` (did you mean 'x'?)` with the most similar of the names, or nothing."""
    short = [known for known in names if len(known) <= 100]  # comparing takes quadratic time
    close = difflib.get_close_matches(name[:100], short, n=1)
    return f" (did you mean {shown(close[0])}?)" if close else ""
