"""A file of labels, one JSON line each, that loses nothing but a line that was being written."""

import json
import os
import warnings
from pathlib import Path

from sobirl.core.errors import InvalidInputError

Entry = tuple[int, float | None]  # a ticket and its label; None if the pair was skipped

_BEGINNING = b'{"ticket": '
_LONGEST = 100  # bytes, more than any line has


class LabelLog:
    """Labels in the order in which they were given, appended and never changed.

    A last line that was torn when its process ended is cut off, with a warning.

    Args:
        path: the file, made if there are no pairs yet.
        num_pairs: how many tickets there are.

    Attributes:
        entries: every label so far, the oldest first.

    Raises:
        InvalidInputError: the file is damaged elsewhere, or gone.
    """

    def __init__(self, path: Path, num_pairs: int):
        if num_pairs and not path.exists():
            raise InvalidInputError(f"{path}: is missing; restore it")
        self._file = path.open("ab", buffering=0)
        try:
            self.entries = _repaired(path, self._file, num_pairs)
        except BaseException:
            self._file.close()
            raise

    def append(self, ticket: int, label: float | None) -> None:
        """Add a label, and wait until it is on the disk.

        If this raises, as on a full disk, the file is as before.
        """
        line = json.dumps({"ticket": ticket, "label": label}).encode() + b"\n"
        size = os.fstat(self._file.fileno()).st_size
        try:
            if self._file.write(line) != len(line):
                raise OSError(f"{self._file.name}: the disk is full")
            os.fsync(self._file.fileno())
        except BaseException:
            self._file.truncate(size)
            raise
        self.entries.append((ticket, label))

    def close(self) -> None:
        """Close the file; nothing can be appended any more."""
        self._file.close()


def _repaired(path, file, num_pairs):
    """The entries of the file, which then ends with a whole line."""
    *lines, tail = path.read_bytes().split(b"\n")
    entries = [_parsed(path, i, line, num_pairs) for i, line in enumerate(lines, start=1)]
    if not tail:
        return entries
    if _is_torn(tail):
        warnings.warn(
            f"{path}: a label was being written when the process ended; it is lost", stacklevel=4
        )
        file.truncate(sum(len(line) + 1 for line in lines))
        return entries
    entries.append(_parsed(path, len(lines) + 1, tail, num_pairs))
    file.write(b"\n")
    return entries


def _is_torn(tail):
    """Whether these bytes are the beginning of a line, perhaps with zeros for the rest."""
    begun = tail.rstrip(b"\0")
    shared = min(len(begun), len(_BEGINNING))
    whole = begun == tail and begun.endswith(b"}")
    return begun[:shared] == _BEGINNING[:shared] and len(tail) <= _LONGEST and not whole


def _parsed(path, number, line, num_pairs):
    damaged = InvalidInputError(
        f"{path}: is damaged (line {number} is no label); restore it, or remove the line if "
        "that label may be lost"
    )
    try:
        entry = json.loads(line)
        ticket, label = entry["ticket"], entry["label"]
        fits = entry.keys() == {"ticket", "label"} and type(ticket) is int
        fits = fits and (label is None or (type(label) in (int, float) and 0 <= label <= 1))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise damaged from None
    if not fits:
        raise damaged
    if not 0 <= ticket < num_pairs:
        raise InvalidInputError(
            f"{path}: line {number} labels pair {ticket}, but the store has {num_pairs} pairs; "
            "restore the missing files"
        )
    return ticket, label if label is None else float(label)
