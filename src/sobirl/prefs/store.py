"""A directory of pairs and the labels that people gave them, which survives any end of a process.

store.json            what this directory is, and the version of its format
pairs/00000000.npz    the pair of ticket 0, and so on
labels.jsonl          one line a label, in the order in which they were given
"""

import contextlib
import dataclasses
import io
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sobirl.core.errors import InvalidInputError
from sobirl.core.files import atomic_file
from sobirl.core.locks import lock
from sobirl.experience import Fragment
from sobirl.prefs.label_log import Entry, LabelLog

FORMAT = 1

_KIND, _ABOUT = "sobirl preferences", "store.json"


class PreferenceStore:
    """Pairs to compare, and their labels. Its methods may be called from several threads.

    One process at a time has a store, from when it is made until `close`, the end of a `with`
    block or the end of the process. What `add` and `label` have returned from survives a kill.

    Args:
        path: the directory; made if there is none, or an empty one.

    Raises:
        InvalidInputError: it cannot be made, is something else, is damaged, is of another format
            or is in use.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self._thread = threading.RLock()
        with contextlib.ExitStack() as held:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InvalidInputError(
                    f"{path}: cannot be a store of preferences ({error.strerror})"
                ) from error
            held.enter_context(lock(self.path))
            _identify(self.path)
            self._num_pairs = _count_pairs(self.path / "pairs")
            self._log = LabelLog(self.path / "labels.jsonl", self._num_pairs)
            held.callback(self._log.close)
            self._held = held.pop_all()
            self._open = True

    def __enter__(self) -> "PreferenceStore":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __len__(self) -> int:
        return self._num_pairs

    def close(self) -> None:
        """Let go of the directory."""
        with self._thread:
            self._open = False
            self._held.close()

    def add(self, pair: Fragment) -> int:
        """Keep a pair, a fragment with leading axis (2,); its ticket, counted from 0.

        States of the environment are not kept: they are of no use to people.

        Raises:
            InvalidInputError: it is no pair, or has arrays of other things than numbers.
        """
        if pair.mask.shape[:-1] != (2,):
            raise InvalidInputError(
                f"pair: must have the leading axis (2,), got {pair.mask.shape[:-1]}"
            )
        arrays: dict[str, Any] = {name: np.asarray(getattr(pair, name)) for name in _NAMES}
        for name, array in arrays.items():
            if array.dtype.kind not in "biuf":
                raise InvalidInputError(f"{name}: cannot be stored as {array.dtype}; use numbers")
        with self._thread:
            self._check_open()
            with atomic_file(self._file(self._num_pairs)) as file:
                np.savez_compressed(file, **arrays)
            self._num_pairs += 1
            return self._num_pairs - 1

    def label(self, ticket: int, value: float | int | None) -> None:
        """Label a pair: 1 if the first is preferred, 0 if the second, 1/2 a tie, None skipped.

        The last label of a pair counts; earlier ones stay in the history.

        Raises:
            InvalidInputError: there is no such ticket, or the value is out of its range.
        """
        if value is not None and not 0 <= value <= 1:
            raise InvalidInputError(f"value: must be between 0 and 1 or None, got {value}")
        with self._thread:
            self._check_open()
            self._check_ticket(ticket)
            self._log.append(int(ticket), None if value is None else float(value))

    def history(self) -> list[Entry]:
        """Every (ticket, label) ever given, the oldest first."""
        with self._thread:
            return list(self._log.entries)

    def labels(self) -> dict[int, float | None]:
        """The last label of every labelled pair, by ticket; None for a skipped one."""
        return dict(sorted(dict(self.history()).items()))

    def unlabelled(self) -> list[int]:
        """The tickets of the pairs that were neither labelled nor skipped."""
        with self._thread:
            labelled = self.labels()
            return [ticket for ticket in range(self._num_pairs) if ticket not in labelled]

    def pairs(self, tickets: Sequence[int]) -> Fragment:
        """Some pairs, with leading axes (M,2), in NumPy arrays.

        Raises:
            InvalidInputError: there is no such ticket, or none at all; a file is damaged; or the
                pairs differ in shape.
        """
        for ticket in tickets:
            self._check_ticket(ticket)
        if not len(tickets):
            raise InvalidInputError("tickets: must name at least one pair")
        pairs = [_read(self._file(ticket)) for ticket in tickets]
        for ticket, pair in zip(tickets, pairs, strict=True):
            for name in _NAMES:
                shape, wanted = getattr(pair, name).shape, getattr(pairs[0], name).shape
                if shape != wanted:
                    raise InvalidInputError(
                        f"tickets: pairs {tickets[0]} and {ticket} cannot go together, their "
                        f"{name} has shapes {wanted} and {shape}"
                    )
        return jax.tree.map(lambda *leaves: np.stack(leaves), *pairs)

    def _file(self, ticket):
        return self.path / "pairs" / f"{ticket:08d}.npz"

    def _check_open(self):
        if not self._open:
            raise InvalidInputError(f"{self.path}: the store was closed")

    def _check_ticket(self, ticket):
        if not 0 <= ticket < self._num_pairs:
            raise InvalidInputError(
                f"ticket: there is no {ticket}; the store has {self._num_pairs} pairs"
            )


_NAMES = [field.name for field in dataclasses.fields(Fragment) if field.name != "state"]


def _identify(path):
    """Raise unless the directory is a store; make an empty one into one."""
    about = path / _ABOUT
    if not about.exists():
        if any(entry.name != f".{_ABOUT}.draft" for entry in path.iterdir()):
            raise InvalidInputError(f"{path}: is not empty and no store of preferences")
        with atomic_file(about) as file:
            file.write(json.dumps({"kind": _KIND, "format": FORMAT}).encode() + b"\n")
        return
    try:
        found = json.loads(about.read_bytes())
        number, kind = int(found["format"]), found["kind"]
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise InvalidInputError(f"{about}: is damaged") from error
    if kind != _KIND:
        raise InvalidInputError(f"{about}: is of another kind, {kind!r} instead of {_KIND!r}")
    if number != FORMAT:
        raise InvalidInputError(
            f"{path}: has format {number}, this sobirl reads format {FORMAT}; use the sobirl that "
            "made it"
        )


def _count_pairs(folder):
    """How many pairs there are; what kills left of files being written is removed."""
    folder.mkdir(exist_ok=True)
    for draft in folder.glob(".*.draft"):
        draft.unlink()
    found = {file.name for file in folder.glob("[0-9]*.npz")}
    missing = {f"{ticket:08d}.npz" for ticket in range(len(found))} - found
    if missing:
        raise InvalidInputError(f"{folder}: is damaged, {min(missing)} is missing")
    return len(found)


def _read(file):
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
            pair = Fragment(**dict(arrays))
    except Exception as error:  # whatever zipfile, zlib, NumPy and shapes make of other bytes
        raise InvalidInputError(f"{file}: is damaged or no pair of fragments") from error
    if pair.mask.shape[:-1] != (2,):
        raise InvalidInputError(f"{file}: holds no pair of fragments")
    return pair
