"""Labelled pairs in Parquet: columns as in JSON lines, fragments as structs of lists."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sobirl.core.errors import InvalidInputError
from sobirl.prefs.label_records import Record

_AT_ONCE = 64  # rows in memory beside the records
_TEXTS = ("labeller", "reason", "time")
_SERIES = {"reward": pa.float32(), "log_prob": pa.float32(), "mask": pa.bool_()}


def read_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Every row and where it is.

    Raises:
        InvalidInputError: the file is damaged, or no Parquet; or a list is ragged or has gaps.
    """
    number = 0
    try:
        opened = path.open("rb")
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        with opened, pq.ParquetFile(opened) as file:
            for batch in file.iter_batches(_AT_ONCE):
                for row in batch.to_struct_array():
                    number += 1
                    yield f"row {number}", _found(row, "")
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}, row {number}: {error}") from None
    except Exception as error:  # whatever Arrow makes of other bytes
        raise InvalidInputError(f"{path}: is damaged or no Parquet file") from error


def write_rows(file: BinaryIO, records: Sequence[Record]) -> None:
    """Write records as one table.

    Raises:
        InvalidInputError: observations or actions have not the same type and number of axes.
    """
    writer = None
    for begin in range(0, len(records), _AT_ONCE):
        table = _table(records[begin : begin + _AT_ONCE], records[0])
        writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is not None:
        writer.close()


def _table(records: Sequence[Record], like: Record) -> pa.Table:
    columns: dict[str, pa.Array] = {
        "version": pa.array([r["version"] for r in records], pa.int32()),
        "environment": pa.array([r["environment"] for r in records], pa.string()),
        "label": pa.array([r["label"] for r in records], pa.float64()),
    }
    for name in ("first", "second"):
        columns[name] = _clips([record[name] for record in records], like["first"])
    columns |= {name: pa.array([r.get(name) for r in records], pa.string()) for name in _TEXTS}
    return pa.table(columns)


def _clips(clips: Sequence[Record], like: Record) -> pa.Array:
    """Fragments as one column."""
    for clip in clips:
        for name in ("observation", "action"):
            wanted, found = ((c[name].dtype, c[name].ndim) for c in (like, clip))
            if wanted != found:
                raise InvalidInputError(
                    f"{name}: pairs of one table must be of the same type and number of axes, got "
                    f"{wanted} and {found}"
                )
    columns = {
        name: _lists([clip[name] for clip in clips], pa.from_numpy_dtype(like[name].dtype))
        for name in ("observation", "action")
    }
    columns |= {name: _lists([c.get(name) for c in clips], kind) for name, kind in _SERIES.items()}
    columns["terminal"] = pa.array([clip.get("terminal") for clip in clips], pa.bool_())
    return pa.StructArray.from_arrays(list(columns.values()), list(columns))


def _lists(arrays: Sequence[np.ndarray | None], kind: pa.DataType) -> pa.Array:
    """Arrays as lists of lists of numbers; null where there is none."""
    there = [array for array in arrays if array is not None]
    values: pa.Array = pa.array(
        np.concatenate([array.ravel() for array in there]) if there else [], kind
    )
    for axis in reversed(range(1, there[0].ndim if there else 1)):
        lengths = [np.full(np.prod(a.shape[:axis], dtype=int), a.shape[axis]) for a in there]
        values = pa.ListArray.from_arrays(_offsets(np.concatenate(lengths)), values)
    offsets = _offsets(np.array([0 if array is None else len(array) for array in arrays]))
    missing = pa.array([array is None for array in arrays])
    return pa.ListArray.from_arrays(offsets, values, mask=missing)


def _offsets(lengths: np.ndarray) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())


def _found(scalar: pa.Scalar, name: str) -> Any:
    """What a cell holds, lists as NumPy arrays; entries that are null are left out of structs."""
    if not scalar.is_valid:
        return None
    if isinstance(scalar, pa.StructScalar):
        entries = {key: _found(scalar[key], f"{name}.{key}".lstrip(".")) for key in scalar}
        # A label is null for a pair that was skipped; in all else null is what is not there.
        return {key: v for key, v in entries.items() if v is not None or key == "label"}
    if isinstance(scalar, pa.ListScalar):
        return _array(scalar.values, name)
    return scalar.as_py()


def _array(values: pa.Array, name: str) -> np.ndarray:
    shape = [len(values)]
    while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        lengths = pc.call_function("list_value_length", [values]).unique()
        if len(lengths) > 1:
            raise InvalidInputError(f"{name}: its entries differ in shape")
        shape.append(lengths[0].as_py() if len(lengths) else 0)
        if shape[-1] is None:
            break
        values = values.flatten()
    if values.null_count:
        raise InvalidInputError(f"{name}: has gaps (null)")
    return values.to_numpy(zero_copy_only=False).reshape(shape)
