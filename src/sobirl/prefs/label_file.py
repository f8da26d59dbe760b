"""Files of labelled pairs, JSON lines or Parquet: what people said, for any program to read.

One line, or one row, is a pair: version, environment, label, the fragments `first` and `second`,
and perhaps labeller, reason and time. docs/rlhf.md has the schema.
"""

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Float

from sobirl.core.errors import InvalidInputError
from sobirl.core.files import atomic_file
from sobirl.experience import Fragment
from sobirl.prefs.label_records import VERSION, Record, clip_record, parsed

if TYPE_CHECKING:
    from sobirl.prefs.store import PreferenceStore

LONG_AGO = -(2**30)  # records; the age of fragments of which no present run knows when
_ENDINGS = (".jsonl", ".parquet")


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledPair:
    """Two fragments, and what someone said of them.

    Attributes:
        pair: the fragments, with leading axis (2,), in NumPy arrays. Where nothing is known of the
            reward or the log-probability, they are NaN.
        label: the probability that the first is preferred, from 0 to 1; None for a skipped pair.
        environment: by the name that `--env` has.
        labeller: who said it.
        reason: why.
        time: when, in ISO 8601.
        terminal: whether the episode ended with the last step of the one and the other fragment;
            None where that is not known.
        place: where it was read, for messages.
    """

    pair: Fragment
    label: float | None
    environment: str
    labeller: str | None = None
    reason: str | None = None
    time: str | None = None
    terminal: tuple[bool | None, bool | None] = (None, None)
    place: str = ""


def read_labels(path: Path | str) -> list[LabelledPair]:
    """All pairs of a file whose name ends with .jsonl or .parquet.

    Fragments of a pair that differ in length are filled up to the longer one, with the mask false.

    Raises:
        InvalidInputError: with the line: it is not as the schema says, its arrays are no finite
            numbers or do not fit each other, or a newer sobirl wrote it; or the file cannot be
            read, is cut off or has no pairs, or pyarrow is missing.
    """
    path = Path(path)
    pairs = [
        _pair(f"{path}, {place}", record)
        for place, record in (_rows if _is_parquet(path) else _lines)(path)
    ]
    if not pairs:
        raise InvalidInputError(f"{path}: is empty; expected labelled pairs")
    return pairs


def write_labels(path: Path | str, pairs: Iterable[LabelledPair]) -> None:
    """Write pairs to a file whose name ends with .jsonl or .parquet; it is there completely or not.

    Raises:
        InvalidInputError: the name ends with something else, a pair cannot be read again, pairs
            cannot go together in one table, there are none, or pyarrow is missing.
    """
    path = Path(path)
    is_parquet = _is_parquet(path)
    records = [_record(f"pair {number}", pair) for number, pair in enumerate(pairs)]
    if not records:
        raise InvalidInputError(f"{path}: there are no pairs to write")
    try:
        with atomic_file(path) as file:
            if is_parquet:
                from sobirl.prefs.label_table import write_rows

                write_rows(file, records)
            for record in () if is_parquet else records:
                file.write(json.dumps(record, default=_plain, allow_nan=False).encode() + b"\n")
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be written ({error.strerror})") from error


def labels_of_store(store: "PreferenceStore", environment: str) -> list[LabelledPair]:
    """What people said of the pairs of a store, by ticket; one entry an answer.

    Args:
        store: pairs and labels.
        environment: that they are of.
    """
    return [
        LabelledPair(
            jax.tree.map(lambda leaf: leaf[0], store.pairs([answer.ticket])),
            answer.value,
            environment,
            labeller=answer.labeller or None,
            reason=answer.reason,
            time=datetime.datetime.fromtimestamp(answer.time, datetime.UTC).isoformat(
                "T", "seconds"
            ),
        )
        for answer in store.answers()
    ]


def labels_into_store(store: "PreferenceStore", pairs: Iterable[LabelledPair]) -> None:
    """Add pairs and what people said of them; a pair that several people judged is added once.

    Raises:
        InvalidInputError: they are of several environments, or not of the store's.
    """
    pairs, tickets = list(pairs), dict[bytes, int]()
    names = {pair.environment for pair in pairs}
    if "environment" in store.settings():
        names.add(store.settings()["environment"])
    if len(names) > 1:
        raise InvalidInputError(f"pairs: are of several environments, {', '.join(sorted(names))}")
    store.set(environment=names.pop())
    for labelled in pairs:
        leaves = jax.tree.leaves(labelled.pair)
        digest = hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves)).digest()
        if digest not in tickets:
            tickets[digest] = store.add(labelled.pair)
        store.label(
            tickets[digest],
            labelled.label,
            labelled.labeller or "",
            labelled.reason,
            datetime.datetime.fromisoformat(labelled.time).timestamp() if labelled.time else None,
        )


def labelled_pairs(
    pairs: Fragment, labels: Float[np.ndarray, "M"], environment: str
) -> Iterator[LabelledPair]:
    """Pairs (M,2) and their labels (M,) one by one."""
    arrays = {name: np.asarray(leaf) for name, leaf in vars(pairs).items() if name != "state"}
    for row, label in enumerate(labels.tolist()):
        pair = Fragment(**{name: array[row] for name, array in arrays.items()})
        yield LabelledPair(pair, label, environment)


def _is_parquet(path: Path) -> bool:
    """Whether it is Parquet and not JSON lines.

    Raises:
        InvalidInputError: the name says neither, or pyarrow is missing.
    """
    if path.suffix not in _ENDINGS:
        raise InvalidInputError(f"{path}: must end with {' or '.join(_ENDINGS)}")
    if path.suffix == ".jsonl":
        return False
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise InvalidInputError(
            f"{path}: Parquet needs a further package: pip install 'sobirl[parquet]'"
        ) from None
    return True


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Every line that is not blank, and where it is."""
    try:
        *lines, tail = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read ({error.strerror})") from error
    for number, line in enumerate((*lines, tail), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, parse_constant=_refuse)
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}, line {number}: {error}") from None
        except (ValueError, RecursionError):
            cut = "; the file seems to be cut off" if line is tail else ""
            raise InvalidInputError(f"{path}, line {number}: is no JSON{cut}") from None
        yield f"line {number}", record


def _refuse(constant: str):
    raise InvalidInputError(f"{constant} is no number that can be learned from")


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    from sobirl.prefs.label_table import read_rows

    return read_rows(path)


def _pair(place: str, found: Any) -> LabelledPair:
    """One pair of what JSON or a row holds."""
    try:
        record = parsed(found)
        _check_time(record.time)
        clips = [clip.arrays(name) for name, clip in record.clips]
        first, second = clips
        for name in ("observation", "action"):
            one, other = first[name].shape[1:], second[name].shape[1:]
            if one != other:
                raise InvalidInputError(
                    f"{name}: of first and second must be alike, got the shapes {one} and {other}"
                )
        extra = {len(clip["observation"]) - len(clip["mask"]) for clip in clips}
        if len(extra) > 1:
            raise InvalidInputError(
                "observation: has so many frames more than steps as the network sees before the "
                f"first, in first and second alike, got {min(extra)} and {max(extra)}"
            )
        length = max(len(clip["mask"]) for clip in clips)
        arrays = [_filled(clip, length) for clip in clips]
        pair = Fragment(
            **{name: _stack([clip[name] for clip in arrays]) for name in arrays[0]},
            taken_at=np.full(2, LONG_AGO, np.int32),
        )
    except InvalidInputError as error:
        raise InvalidInputError(f"{place}: {error}") from None
    return LabelledPair(
        pair=pair,
        label=None if record.label is None else float(record.label),
        environment=record.environment,
        labeller=record.labeller,
        reason=record.reason,
        time=record.time,
        terminal=(record.first.terminal, record.second.terminal),
        place=place,
    )


def _stack(arrays):
    return np.stack([array.astype(np.result_type(*arrays)) for array in arrays])


def _filled(clip: dict[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
    """The arrays of a fragment with that many steps, the last frame and action repeated."""
    missing = length - len(clip["mask"])
    filled = {}
    for name, array in clip.items():
        width = ((0, missing), *((0, 0),) * (array.ndim - 1))
        filled[name] = np.pad(array, width, "constant" if name == "mask" else "edge")
    return filled


def filled(pair: Fragment, length: int) -> Fragment:
    """A pair (2,) of that many steps: the last frame and action repeated, the mask false."""
    names = [name for name in vars(pair) if name not in ("state", "taken_at")]
    clips = [
        _filled({name: getattr(pair, name)[row] for name in names}, length) for row in range(2)
    ]
    return Fragment(
        **{name: np.stack([clip[name] for clip in clips]) for name in names},
        taken_at=pair.taken_at,
    )


def _iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds")


def _check_time(time: str | None) -> None:
    if time is None:
        return
    try:
        datetime.datetime.fromisoformat(time)
    except ValueError:
        raise InvalidInputError(
            f"time: must be as 2026-11-25T04:10:00+00:00 (ISO 8601), got {time[:40]!r}"
        ) from None


def _record(place: str, pair: LabelledPair) -> Record:
    """What is written of a pair; anything that could not be read again is refused now."""
    if pair.pair.mask.shape[:-1] != (2,):
        raise InvalidInputError(
            f"{place}: must have the leading axis (2,), got {pair.pair.mask.shape[:-1]}"
        )
    about = {name: getattr(pair, name) for name in ("labeller", "reason", "time")}
    record = {
        "version": VERSION,
        "environment": pair.environment,
        "label": pair.label,
        "first": clip_record(pair.pair, 0, pair.terminal[0]),
        "second": clip_record(pair.pair, 1, pair.terminal[1]),
        **{name: value for name, value in about.items() if value is not None},
    }
    _pair(place, record)
    return record


def _plain(value):
    return value.tolist() if isinstance(value, np.ndarray) else value.item()
