"""Who is asked what next, and what they said: questions on loan to several labellers at a time."""

import dataclasses
import json
import random
import time
from typing import Any

from sobirl.core.errors import InvalidInputError
from sobirl.prefs.reliability import agreement
from sobirl.prefs.schema import CHOICES
from sobirl.prefs.store import PreferenceStore

REPEATS = 0.05  # of the answers, asked again
_LEASE = 600.0  # seconds
_APART = 5  # answers between a question and its repetition, at least
_JUDGED = "undone IS NULL AND choice != 'skip'"


class StaleError(InvalidInputError):
    """Someone answers what is no longer on loan to them."""


@dataclasses.dataclass(frozen=True)
class Question:
    """What one labeller is asked.

    Attributes:
        ticket: of the pair.
        swapped: whether the second clip is on the left.
        about: what is known of the pictures.
    """

    ticket: int
    swapped: bool
    about: dict[str, Any]


class Desk:
    """Lends the questions of a store, in their order, to labellers, and takes answers.

    A question is on loan to one person at a time, and is asked of `overlap` people in all (a
    setting of the store, 1). So that one can tell how steady people are, each is asked some
    questions again without being told (a share of the setting `repeats`, 5 %).

    Args:
        store: of the questions.
        lease: seconds after which someone else may have a question that was not answered.
    """

    def __init__(self, store: PreferenceStore, lease: float | int = _LEASE):
        self.store, self.lease = store, lease
        self._random = random.SystemRandom()

    def next(self, labeller: str) -> Question | None:
        """The question that someone is to answer now; the same until it is answered."""
        settings = self.store.settings()
        now = time.time()
        with self.store.database.transaction() as database:
            database.execute("DELETE FROM lease WHERE until < ? AND labeller != ?", (now, labeller))
            held = database.execute(
                "SELECT question, swapped FROM lease WHERE labeller = ?", (labeller,)
            ).fetchone()
            if held is None:
                again = _due(database, labeller, settings.get("repeats", REPEATS))
                fresh = _waiting(database, labeller, settings.get("overlap", 1))
                chosen = again if again is not None else fresh
                if chosen is None:
                    return None
                held = chosen, self._random.randrange(2)
                row = *held, labeller, now + self.lease, int(again is not None)
                database.execute(
                    "INSERT INTO lease (question, swapped, labeller, until, repeated) "
                    "VALUES (?, ?, ?, ?, ?)",
                    row,
                )
            else:
                database.execute(
                    "UPDATE lease SET until = ? WHERE labeller = ?", (now + self.lease, labeller)
                )
            [(about,)] = database.execute("SELECT about FROM question WHERE id = ?", held[:1])
        return Question(held[0], bool(held[1]), json.loads(about))

    def answer(
        self, labeller: str, ticket: int, choice: str, request: str, reason: str | None = None
    ) -> None:
        """Keep an answer; it is on the disk when this returns.

        Args:
            labeller: who gives it.
            ticket: of the question that `next` gave.
            choice: left, right, equal, unsure or skip.
            request: a number of the request's own: the same one again is no second answer.
            reason: why.

        Raises:
            StaleError: the question is not on loan to the labeller.
            InvalidInputError: there is no such choice.
        """
        if choice not in ("left", "right", "equal", "unsure", "skip"):
            raise InvalidInputError(f"choice: there is no {choice!r}")
        with self.store.database.transaction() as database:
            known = database.execute(
                "SELECT labeller, question FROM answer WHERE request = ?", (request,)
            ).fetchone()
            if known is not None:
                if known == (labeller, ticket):
                    return
                raise StaleError("request: was used before, for another answer")
            held = database.execute(
                "SELECT swapped, repeated FROM lease WHERE labeller = ? AND question = ?",
                (labeller, ticket),
            ).fetchone()
            if held is None:
                raise StaleError("this question is no longer yours")
            swapped, repeated = held
            if choice in ("left", "right"):
                choice = "first" if (choice == "left") != bool(swapped) else "second"
            row = ticket, labeller, choice, CHOICES[choice], reason, swapped, repeated
            database.execute(
                "INSERT INTO answer (question, labeller, choice, value, reason, swapped, repeated, "
                "given, request) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, time.time(), request),
            )
            database.execute("DELETE FROM lease WHERE labeller = ?", (labeller,))

    def undo(self, labeller: str) -> bool:
        """Take back the last answer of someone, who is asked the same again; whether there was one.

        A round that has learned from it already keeps it.
        """
        with self.store.database.transaction() as database:
            last = database.execute(
                "SELECT id, question, swapped, repeated FROM answer "
                "WHERE labeller = ? AND undone IS NULL ORDER BY id DESC LIMIT 1",
                (labeller,),
            ).fetchone()
            if last is None:
                return False
            number, question, swapped, repeated = last
            now = time.time()
            database.execute("UPDATE answer SET undone = ? WHERE id = ?", (now, number))
            database.execute("DELETE FROM lease WHERE labeller = ?", (labeller,))
            database.execute(
                "INSERT INTO lease VALUES (?, ?, ?, ?, ?)",
                (question, labeller, now + self.lease, swapped, repeated),
            )
        return True

    def holds(self, labeller: str, ticket: int) -> bool:
        """Whether a question is on loan to someone."""
        query = "SELECT 1 FROM lease WHERE labeller = ? AND question = ?"
        return bool(self.store.database.read(query, labeller, ticket))

    def progress(self, labeller: str) -> dict[str, Any]:
        """How many pairs are labelled and wait, how many someone labelled, and how steadily.

        `retest` and `agreement` are the share of pairs that a person judged the same when asked
        again, and that two people judged the same; None where there are none.
        """
        read = self.store.database.read
        total, labelled, own = read(
            "SELECT (SELECT count(*) FROM question), (SELECT count(*) FROM (SELECT 1 FROM answer "
            f"WHERE {_JUDGED} AND repeated = 0 GROUP BY question HAVING count(*) >= ?)), "
            "(SELECT count(*) FROM answer WHERE labeller = ? AND undone IS NULL AND choice != "
            "'skip')",
            self.store.overlap,
            labeller,
        )[0]
        again = read(
            "SELECT one.value, two.value FROM answer two JOIN answer one ON one.question = "
            "two.question AND one.labeller = two.labeller AND one.repeated = 0 "
            "WHERE two.labeller = ? AND two.repeated = 1 AND one.undone IS NULL AND two.undone IS "
            "NULL AND one.choice != 'skip' AND two.choice != 'skip'",
            labeller,
        )
        others = read(
            "SELECT one.value, two.value FROM answer one JOIN answer two ON one.question = "
            "two.question AND one.labeller < two.labeller WHERE one.repeated = 0 AND two.repeated "
            "= 0 AND one.undone IS NULL AND two.undone IS NULL AND one.choice != 'skip' AND "
            "two.choice != 'skip'"
        )
        return {
            "total": total,
            "labelled": labelled,
            "waiting": total - labelled,
            "own": own,
            "retest": _share(*agreement(again)),
            "agreement": _share(*agreement(others)),
        }


def _share(same: int, total: int) -> float | None:
    return same / total if total else None


def _due(database, labeller: str, share: float | int) -> int | None:
    """The question that someone is asked again, if one is due."""
    [(own, again)] = database.execute(
        f"SELECT coalesce(sum(repeated = 0), 0), coalesce(sum(repeated), 0) FROM answer "
        f"WHERE labeller = ? AND {_JUDGED}",
        (labeller,),
    )
    if again >= int(share * own):
        return None
    found = database.execute(
        f"SELECT question FROM answer WHERE labeller = ? AND {_JUDGED} AND repeated = 0 AND "
        "question NOT IN (SELECT question FROM answer WHERE labeller = ? AND undone IS NULL AND "
        "repeated = 1) AND id NOT IN (SELECT id FROM answer WHERE labeller = ? ORDER BY id DESC "
        "LIMIT ?) ORDER BY id LIMIT 1",
        (labeller, labeller, labeller, _APART),
    ).fetchone()
    return None if found is None else found[0]


def _waiting(database, labeller: str, overlap: int) -> int | None:
    """The first question that someone else is still to be asked about."""
    found = database.execute(
        "SELECT id FROM question WHERE NOT EXISTS (SELECT 1 FROM answer WHERE question = "
        "question.id AND labeller = ? AND undone IS NULL) AND (SELECT count(*) FROM answer WHERE "
        f"question = question.id AND {_JUDGED} AND repeated = 0) + (SELECT count(*) FROM lease "
        "WHERE question = question.id AND repeated = 0) < ? ORDER BY id LIMIT 1",
        (labeller, overlap),
    ).fetchone()
    return None if found is None else found[0]
