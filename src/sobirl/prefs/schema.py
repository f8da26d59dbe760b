"""The tables of a store of preferences, and connections to them.

question    what is asked, by ticket from 0: the round of the run that asked, its rank in that
            round's selection order, when, and what is known of its pictures (JSON)
answer      what people said; an answer that was taken back or replaced keeps its row, and says
            when. `request` is the page's own number of the request, so that one that is sent twice
            is one answer. `swapped`: the second clip was shown on the left
lease       who looks at which question at present, and until when
seen        which round of a run was the first to learn from the answers to a question, and as what
setting     the environment, the instructions, overlap, repeats and so on

Times are seconds since 1970, in UTC.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sobirl.core.errors import InvalidInputError

VERSION = 1
CHOICES: dict[str, float | None] = {
    "first": 1.0,
    "second": 0.0,
    "equal": 0.5,
    "unsure": None,
    "skip": None,
    "graded": None,  # any other number, given by a program
}

_APPLICATION = 0x736F6269  # "sobi", which SQLite keeps in the file's head
_PATIENCE = 30.0  # seconds to wait for another process's transaction
_TABLES = f"""
CREATE TABLE question (
    id INTEGER PRIMARY KEY,
    round INTEGER,
    rank INTEGER NOT NULL,
    asked REAL NOT NULL,
    about TEXT NOT NULL
) STRICT;
CREATE TABLE answer (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    question INTEGER NOT NULL REFERENCES question,
    labeller TEXT NOT NULL,
    choice TEXT NOT NULL CHECK (choice IN ({", ".join(f"'{choice}'" for choice in CHOICES)})),
    value REAL CHECK (value BETWEEN 0 AND 1),
    reason TEXT,
    swapped INTEGER NOT NULL DEFAULT 0,
    repeated INTEGER NOT NULL DEFAULT 0,
    given REAL NOT NULL,
    request TEXT UNIQUE,
    undone REAL
) STRICT;
CREATE UNIQUE INDEX one_answer ON answer (question, labeller, repeated) WHERE undone IS NULL;
CREATE INDEX by_labeller ON answer (labeller, id);
CREATE TABLE lease (
    question INTEGER NOT NULL REFERENCES question,
    labeller TEXT NOT NULL UNIQUE,
    until REAL NOT NULL,
    swapped INTEGER NOT NULL,
    repeated INTEGER NOT NULL
) STRICT;
CREATE INDEX lease_of_question ON lease (question);
CREATE TABLE seen (
    question INTEGER PRIMARY KEY REFERENCES question,
    round INTEGER NOT NULL,
    value REAL
) STRICT;
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""


class Database:
    """A connection that several threads may use, beside any number of other processes.

    Args:
        path: the file; made if there is none.

    Raises:
        InvalidInputError: it is damaged, something else, or of a newer sobirl.
    """

    def __init__(self, path: Path):
        self.path = path
        self._thread = threading.RLock()
        try:
            self._connection = sqlite3.connect(
                path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise InvalidInputError(f"{path}: cannot be opened ({error})") from error
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._prepare()
        except sqlite3.Error as error:
            self._connection.close()
            raise InvalidInputError(f"{path}: is damaged ({error})") from error
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        with self._thread:
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is written in it, or nothing; on the disk once it ends.

        Raises:
            InvalidInputError: the database is closed, damaged, or cannot be written.
        """
        with self._thread:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):
                        self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise InvalidInputError(f"{self.path}: {error}") from error

    def read(self, query: str, *values: Any) -> list[tuple]:
        """The rows of a query.

        Raises:
            InvalidInputError: the database is closed or damaged.
        """
        with self._thread:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise InvalidInputError(f"{self.path}: {error}") from error

    def _prepare(self) -> None:
        """Make the tables in a new file; refuse what is no store.

        Raises:
            InvalidInputError: it is something else, or of a newer sobirl.
        """
        with self.transaction() as database:
            [(application,)] = database.execute("PRAGMA application_id").fetchall()
            [(version,)] = database.execute("PRAGMA user_version").fetchall()
            if not version and not database.execute("SELECT 1 FROM sqlite_schema").fetchone():
                for statement in _TABLES.split(";"):
                    database.execute(statement)
                database.execute(f"PRAGMA application_id = {_APPLICATION}")
                database.execute(f"PRAGMA user_version = {VERSION}")
            elif application != _APPLICATION:
                raise InvalidInputError(f"{self.path}: is no store of preferences")
            elif version != VERSION:
                raise InvalidInputError(
                    f"{self.path}: has version {version}, this sobirl reads version {VERSION}; "
                    "use the sobirl that made it"
                )
            for (found,) in database.execute("PRAGMA quick_check").fetchall():
                if found != "ok":
                    raise InvalidInputError(f"{self.path}: is damaged ({found})")
