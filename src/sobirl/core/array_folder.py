"""Folders of big arrays: plain `.npy` files that are mapped into memory, and a header in JSON.

header.json     format, version, the type and shape of every array, numbers
NAME.npy        an array each, which NumPy reads as well
"""

import contextlib
import json
import math
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sobirl.core.errors import InvalidInputError

HEADER = "header.json"
_BLOCK_BYTES = 2**26
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def write_folder(
    path: str | Path, kind: str, version: int, arrays: Mapping[str, Any], numbers: Mapping[str, Any]
) -> None:
    """Write arrays and numbers, block by block; the folder is there completely or not at all.

    Args:
        path: the folder, which must not exist.
        kind: what it holds.
        version: of its form.
        arrays: by name; memory-mapped ones are never loaded as a whole.
        numbers: what JSON can hold.

    Raises:
        InvalidInputError: there is something already, or the folder cannot be written.
    """
    path = Path(path)
    if path.exists() or path.is_symlink():
        raise InvalidInputError(f"{path}: is there already; remove it, or give another name")
    draft = path.with_name(f".{path.name}.draft")
    header = {
        "format": kind,
        "version": version,
        "arrays": {
            name: {"dtype": np.lib.format.dtype_to_descr(array.dtype), "shape": list(array.shape)}
            for name, array in arrays.items()
        },
        "numbers": dict(numbers),
    }
    try:
        shutil.rmtree(draft, ignore_errors=True)  # of a write that was killed
        draft.mkdir(parents=True)
        for name, array in arrays.items():
            _write_array(draft / f"{name}.npy", array)
        with (draft / HEADER).open("w", encoding="utf-8") as file:
            json.dump(header, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        os.rename(draft, path)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise InvalidInputError(f"{path}: cannot be written ({error.strerror or error})") from error
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def read_folder(
    path: str | Path, kind: str, version: int, required: Collection[str], known: Collection[str]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays, mapped into memory and read-only, and the numbers of a folder.

    Args:
        path: the folder.
        kind: what it must hold.
        version: the newest one that is understood.
        required: arrays that must be there.
        known: arrays that may be.

    Raises:
        InvalidInputError: no such folder, of another kind or a newer version, a file that is
            missing, damaged or cut short, or an array that is not known.
    """
    path = Path(path)
    header = _read_header(path, kind, version)
    for name in required:
        if name not in header["arrays"]:
            raise InvalidInputError(f"{path}: there is no array {name} in it")
    for name in header["arrays"]:
        if name not in known:
            raise InvalidInputError(
                f"{path}: holds an array {name!r}, which has no meaning here; known are "
                f"{', '.join(known)}"
            )
    arrays = {
        name: _map_array(path / f"{name}.npy", described)
        for name, described in header["arrays"].items()
    }
    return arrays, header["numbers"]


def _read_header(path: Path, kind: str, version: int) -> dict[str, Any]:
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "there is no such folder"
        raise InvalidInputError(f"{path}: {what}")
    file = path / HEADER
    if not file.is_file():
        raise InvalidInputError(f"{path}: is not a folder of arrays, it has no {HEADER}")
    try:
        header = json.loads(file.read_text("utf-8"))
        found, written_by = header["format"], header["version"]
        arrays, numbers = header["arrays"], header["numbers"]
        right = isinstance(numbers, dict) and all(
            isinstance(name, str) and name.isidentifier() and set(described) == {"dtype", "shape"}
            for name, described in arrays.items()
        )
    except OSError as error:
        raise InvalidInputError(f"{file}: cannot be read ({error.strerror or error})") from error
    except (ValueError, LookupError, TypeError, AttributeError):
        header, right, found, written_by = {}, False, None, None
    if right and found != kind:
        raise InvalidInputError(f"{path}: holds {str(found)[:40]!r}, expected {kind!r}")
    if not right or isinstance(written_by, bool) or not isinstance(written_by, int):
        raise InvalidInputError(f"{file}: is damaged, or no header that sobirl wrote")
    if written_by > version:
        raise InvalidInputError(
            f"{path}: is of version {written_by}, written by a newer sobirl; this one reads up to "
            f"version {version}: update sobirl"
        )
    return header


def _write_array(file: Path, array: Any) -> None:
    """One array, in blocks of its first axis."""
    with file.open("wb") as out:
        header = {
            "descr": np.lib.format.dtype_to_descr(array.dtype),
            "fortran_order": False,
            "shape": tuple(array.shape),
        }
        np.lib.format.write_array_header_2_0(out, header)
        for block in _blocks(array):
            out.write(np.ascontiguousarray(block).data)
        out.flush()
        os.fsync(out.fileno())


def _blocks(array: Any) -> Iterator[np.ndarray]:
    if not array.ndim or not array.size:
        yield np.asarray(array)
        return
    rows = max(1, _BLOCK_BYTES // max(1, array.nbytes // len(array)))
    whole = np.asarray(array)  # maps and JAX's arrays on a CPU are not copied
    for start in range(0, len(array), rows):
        yield whole[start : start + rows]


def _map_array(file: Path, described: dict[str, Any]) -> np.ndarray:
    """An array as a read-only map, its file looked at first."""
    if not file.is_file():
        raise InvalidInputError(f"{file}: is missing")
    try:
        with file.open("rb") as content:
            magic = np.lib.format.read_magic(content)
            shape, in_columns, dtype = _READERS[magic](content)
            begin = content.tell()
            size = os.fstat(content.fileno()).st_size
    except OSError as error:
        raise InvalidInputError(f"{file}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # NumPy raises a dozen kinds for what is no .npy
        raise InvalidInputError(f"{file}: is damaged or cut short, no .npy header") from error
    if dtype.hasobject:
        raise InvalidInputError(f"{file}: holds Python objects, never loaded here")
    written = (np.lib.format.dtype_to_descr(dtype), list(shape))
    expected = (described["dtype"], described["shape"])
    if in_columns or written != expected:
        raise InvalidInputError(
            f"{file}: is an array of {written[0]} {written[1]}, but {HEADER} says "
            f"{expected[0]} {expected[1]}"
        )
    right = begin + math.prod(shape) * dtype.itemsize
    if size != right:
        what = "is cut short" if size < right else "is too long"
        raise InvalidInputError(f"{file}: {what}: it has {size:,} bytes of {right:,}")
    if not math.prod(shape) or not shape:
        with contextlib.closing(file.open("rb")) as content:
            return np.lib.format.read_array(content, allow_pickle=False)
    return np.memmap(file, dtype, "r", begin, tuple(shape))
