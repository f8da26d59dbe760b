"""A directory of pairs and what people said of them, which survives any end of any process.

store.sqlite          questions and answers, see `sobirl.prefs.schema`
pairs/00000000.npz    the fragments of ticket 0, and so on
pairs/00000000.webp   its pictures, if there are any
"""

import dataclasses
import io
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from sobirl.core.errors import InvalidInputError
from sobirl.core.files import atomic_file
from sobirl.core.locks import lock
from sobirl.experience import Fragment
from sobirl.prefs.reliability import combined, mistake_rates
from sobirl.prefs.schema import CHOICES, Database

DATABASE = "store.sqlite"

_PROGRAM = ""  # the labeller's name where a program gave the label


@dataclasses.dataclass(frozen=True)
class Showing:
    """What people see of a question.

    Attributes:
        pictures: a picture file of both clips, lossless WebP.
        about: what is known of them, for JSON.
    """

    pictures: bytes
    about: Mapping[str, Any]


class Answer(NamedTuple):
    """What someone says of a pair.

    Attributes:
        ticket: of the pair.
        labeller: who; empty where a program says so.
        value: as of `PreferenceStore.label`.
        reason: why.
        time: when, in seconds since 1970.
    """

    ticket: int
    labeller: str
    value: float | None
    reason: str | None
    time: float


class PreferenceStore:
    """Pairs to compare, and their labels. Several threads and processes may use it at a time.

    What `add`, `label` and the like have returned from survives a kill.

    Args:
        path: the directory; made if there is none, or an empty one.

    Raises:
        InvalidInputError: it cannot be made, is something else, is damaged, or is of another
            version.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with lock(self.path, patience=10.0):
                if not is_store(self.path) and any(self.path.iterdir()):
                    raise InvalidInputError(f"{path}: is not empty and no store of preferences")
                self.database = Database(self.path / DATABASE)
                (self.path / "pairs").mkdir(exist_ok=True)
        except OSError as error:
            raise InvalidInputError(
                f"{path}: cannot be a store of preferences ({error.strerror})"
            ) from error

    def __enter__(self) -> "PreferenceStore":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __len__(self) -> int:
        return self.database.read("SELECT count(*) FROM question")[0][0]

    def close(self) -> None:
        """Let go of the directory."""
        self.database.close()

    def add(self, pair: Fragment) -> int:
        """Keep a pair, a fragment with leading axis (2,); its ticket, counted from 0.

        States of the environment are not kept: they are of no use to people.

        Raises:
            InvalidInputError: it is no pair, or has arrays of other things than numbers.
        """
        return self.ask([pair])[0]

    def ask(
        self,
        pairs: Sequence[Fragment],
        round: int | None = None,
        showings: Sequence[Showing] | None = None,
    ) -> list[int]:
        """Keep several pairs, the first the most worth asking about; their tickets.

        Args:
            pairs: each as of `add`.
            round: of the run that asks; what it asked before is not asked again.
            showings: what people see of each.

        Raises:
            InvalidInputError: as `add`.
        """
        arrays = [_arrays(pair) for pair in pairs]
        with lock(self.path / "pairs", patience=60.0):  # one who asks at a time
            if round is not None:
                asked = self.database.read(
                    "SELECT id FROM question WHERE round = ? ORDER BY id", round
                )
                if asked:
                    return [ticket for (ticket,) in asked]
            first = len(self)
            for ticket, one in enumerate(arrays, start=first):
                with atomic_file(self._file(ticket)) as file:
                    np.savez_compressed(file, **one)
            for ticket, showing in enumerate(showings or (), start=first):
                with atomic_file(self.pictures(ticket)) as file:
                    file.write(showing.pictures)
            with self.database.transaction() as database:
                for rank in range(len(pairs)):
                    about = json.dumps(dict(showings[rank].about) if showings else {})
                    row = first + rank, round, rank, time.time(), about
                    database.execute("INSERT INTO question VALUES (?, ?, ?, ?, ?)", row)
        return list(range(first, first + len(pairs)))

    def label(
        self,
        ticket: int,
        value: float | int | None,
        labeller: str = _PROGRAM,
        reason: str | None = None,
        given: float | None = None,
    ) -> None:
        """Label a pair: 1 if the first is preferred, 0 if the second, 1/2 a tie, None skipped.

        The last label that someone gave a pair counts; earlier ones stay in the history.

        Args:
            ticket: of the pair.
            value: the label.
            labeller: who says so.
            reason: why.
            given: when, in seconds since 1970; now by default.

        Raises:
            InvalidInputError: there is no such ticket, or the value is out of its range.
        """
        if value is not None and not 0 <= value <= 1:
            raise InvalidInputError(f"value: must be between 0 and 1 or None, got {value}")
        self._check_ticket(ticket)
        known = {number: name for name, number in CHOICES.items() if number is not None}
        choice = "unsure" if value is None else known.get(float(value), "graded")
        with self.database.transaction() as database:
            now = time.time()
            database.execute(
                "UPDATE answer SET undone = ? WHERE question = ? AND labeller = ? "
                "AND repeated = 0 AND undone IS NULL",
                (now, int(ticket), labeller),
            )
            database.execute(
                "INSERT INTO answer (question, labeller, choice, value, reason, given) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (int(ticket), labeller, choice, value, reason, now if given is None else given),
            )

    def history(self) -> list[tuple[int, float | None]]:
        """Every (ticket, label) ever given, the oldest first, those that were taken back too.

        Hidden repeats are none, nor is what someone left to others.
        """
        return self.database.read(
            "SELECT question, value FROM answer WHERE choice != 'skip' AND repeated = 0 ORDER BY id"
        )

    def answers(self) -> list[Answer]:
        """What everyone says of every pair, by ticket; without hidden repeats."""
        rows = self.database.read(
            "SELECT question, labeller, value, reason, given FROM answer WHERE undone IS NULL AND "
            "choice != 'skip' AND repeated = 0 ORDER BY question, id"
        )
        return [Answer(*row) for row in rows]

    def labels(self, reliability: bool = False) -> dict[int, float | None]:
        """What was said of every labelled pair, by ticket; None where nobody could tell.

        Args:
            reliability: see `combined`: how often each labeller errs counts too.
        """
        return self._labels(self.database.read, reliability)

    def _labels(self, read, reliability) -> dict[int, float | None]:
        # One statement is one moment, whatever others write meanwhile.
        rows = read(
            "SELECT question, labeller, value, repeated FROM answer "
            "WHERE undone IS NULL AND choice != 'skip' ORDER BY question, id"
        )
        rates = {}
        if reliability:
            rates = mistake_rates([(q, who, value) for q, who, value, _ in rows])
        said: dict[int, list] = {}
        for question, labeller, value, repeated in rows:
            if not repeated:
                said.setdefault(question, []).append((value, rates.get(labeller, 0.0)))
        overlap = self._overlap(read)
        return {q: combined(answers) for q, answers in said.items() if len(answers) >= overlap}

    def mistake_rates(self) -> dict[str, float]:
        """How often each labeller is estimated to err, see `reliability.mistake_rates`."""
        return mistake_rates(
            self.database.read(
                "SELECT question, labeller, value FROM answer "
                "WHERE undone IS NULL AND choice != 'skip'"
            )
        )

    def unlabelled(self) -> list[int]:
        """The tickets of the pairs that wait for a label."""
        labelled = self.labels()
        return [ticket for ticket in range(len(self)) if ticket not in labelled]

    def take(self, round: int, reliability: bool = False) -> dict[int, float]:
        """The labels that no earlier round has learned from, by ticket, and note that this one has.

        A round that is done again after a kill takes its labels again: none is lost or doubled.

        Args:
            round: that learns from them.
            reliability: as of `labels`.
        """
        with self.database.transaction() as database:
            database.execute("DELETE FROM seen WHERE round >= ?", (round,))
            known = {ticket for (ticket,) in database.execute("SELECT question FROM seen")}
            read = lambda query: database.execute(query).fetchall()  # noqa: E731
            fresh = {
                ticket: value
                for ticket, value in self._labels(read, reliability).items()
                if ticket not in known
            }
            rows = [(ticket, round, value) for ticket, value in fresh.items()]
            database.executemany("INSERT INTO seen VALUES (?, ?, ?)", rows)
        return {ticket: value for ticket, value in fresh.items() if value is not None}

    def first_seen(self) -> dict[int, int]:
        """The round that was the first to learn from a pair, by ticket."""
        return dict(self.database.read("SELECT question, round FROM seen ORDER BY question"))

    def settings(self) -> dict[str, Any]:
        """What was set."""
        rows = self.database.read("SELECT name, value FROM setting")
        return {name: json.loads(value) for name, value in rows}

    def set(self, **values: Any) -> None:
        """Set some of them: `environment`, `instruction`, `overlap`, `repeats`."""
        with self.database.transaction() as database:
            rows = [(name, json.dumps(value)) for name, value in values.items()]
            database.executemany("INSERT OR REPLACE INTO setting VALUES (?, ?)", rows)

    @property
    def overlap(self) -> int:
        """How many people are asked about every pair."""
        return self._overlap(self.database.read)

    @staticmethod
    def _overlap(read) -> int:
        rows = read("SELECT value FROM setting WHERE name = 'overlap'")
        return json.loads(rows[0][0]) if rows else 1

    def about(self, ticket: int) -> dict[str, Any]:
        """What is known of a question's pictures; empty without any."""
        self._check_ticket(ticket)
        return json.loads(
            self.database.read("SELECT about FROM question WHERE id = ?", ticket)[0][0]
        )

    def pictures(self, ticket: int) -> Path:
        """The file of a question's pictures."""
        return self.path / "pairs" / f"{ticket:08d}.webp"

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

    def _check_ticket(self, ticket):
        count = len(self)
        if not 0 <= ticket < count:
            raise InvalidInputError(f"ticket: there is no {ticket}; the store has {count} pairs")


def is_store(path: Path) -> bool:
    """Whether a directory is a store of preferences."""
    return (path / DATABASE).is_file()


_NAMES = [field.name for field in dataclasses.fields(Fragment) if field.name != "state"]


def _arrays(pair: Fragment) -> dict[str, Any]:
    if pair.mask.shape[:-1] != (2,):
        raise InvalidInputError(
            f"pair: must have the leading axis (2,), got {pair.mask.shape[:-1]}"
        )
    arrays = {name: np.asarray(getattr(pair, name)) for name in _NAMES}
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise InvalidInputError(f"{name}: cannot be stored as {array.dtype}; use numbers")
    return arrays


def _read(file):
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
            pair = Fragment(**dict(arrays))
    except FileNotFoundError as error:
        raise InvalidInputError(f"{file}: is gone; restore it") from error
    except Exception as error:  # whatever zipfile, zlib, NumPy and shapes make of other bytes
        raise InvalidInputError(f"{file}: is damaged or no pair of fragments") from error
    if pair.mask.shape[:-1] != (2,):
        raise InvalidInputError(f"{file}: holds no pair of fragments")
    return pair
