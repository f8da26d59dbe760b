"""Who is asked what: order, leases, repeats, undo; and how often people err."""

import time

import numpy as np
import pytest

from experience.streams import fragments
from sobirl.core import InvalidInputError
from sobirl.prefs import Desk, PreferenceStore, StaleError
from sobirl.prefs.reliability import combined, mistake_rates

NUMBERS = iter(range(10**6))


def give(desk, labeller, choice="left"):
    """Answer what someone is asked; the question."""
    question = desk.next(labeller)
    desk.answer(labeller, question.ticket, choice, f"request {next(NUMBERS)}")
    return question


@pytest.fixture
def store(tmp_path):
    with PreferenceStore(tmp_path / "store") as store:
        store.ask([fragments(2, seed=number) for number in range(6)], 0)
        yield store


@pytest.fixture
def desk(store):
    return Desk(store)


def test_questions_come_in_their_order_and_to_one_person_each(store, desk):
    assert [desk.next(who).ticket for who in ("ann", "bob", "ann", "cid")] == [0, 1, 0, 2]
    for who, ticket in (("bob", 1), ("ann", 0), ("ann", 3), ("bob", 4), ("ann", 5)):
        assert give(desk, who).ticket == ticket
    assert desk.next("bob") is None and desk.next("cid").ticket == 2


def test_sides_are_by_chance_and_are_turned_back(store, desk):
    desk._random = type(
        "Dice", (), {"sides": iter([1, 0]), "randrange": lambda d, n: next(d.sides)}
    )()
    assert [give(desk, "ann").swapped, give(desk, "ann").swapped] == [True, False]
    assert store.labels() == {0: 0.0, 1: 1.0}


@pytest.mark.parametrize(
    ("choice", "labels"), [("equal", {0: 0.5}), ("unsure", {0: None}), ("skip", {})]
)
def test_answers_that_prefer_none(store, desk, choice, labels):
    give(desk, "ann", choice)
    assert store.labels() == labels
    assert desk.next("ann").ticket == 1
    assert desk.next("bob").ticket == (0 if choice == "skip" else 2)  # skipped: others are asked


def test_a_lease_ends(store, desk):
    hasty = Desk(store, lease=-1)
    assert hasty.next("ann").ticket == 0
    assert desk.next("bob").ticket == 0
    with pytest.raises(StaleError, match="no longer yours"):
        desk.answer("ann", 0, "left", "late")
    assert store.labels() == {}


def test_a_request_that_is_sent_twice_is_one_answer(store, desk):
    ticket = desk.next("ann").ticket
    for _ in range(2):
        desk.answer("ann", ticket, "equal", "the same")
    assert store.history() == [(0, 0.5)]
    desk.next("bob")
    with pytest.raises(StaleError, match="was used before"):
        desk.answer("bob", 1, "left", "the same")
    with pytest.raises(InvalidInputError, match="choice: there is no 'both'"):
        desk.answer("bob", 1, "both", "another")


def test_undo(store, desk):
    assert not desk.undo("ann")
    first = give(desk, "ann")
    give(desk, "bob", "equal")
    assert desk.next("ann").ticket == 2
    assert desk.undo("ann") and store.labels() == {1: 0.5}
    again = desk.next("ann")
    assert (again.ticket, again.swapped) == (0, first.swapped)
    give(desk, "ann", "equal")
    assert store.labels() == {0: 0.5, 1: 0.5}
    assert len(store.history()) == 3  # nothing is forgotten


def test_several_people_judge_a_pair_where_that_is_asked_for(store, desk):
    store.set(overlap=2)
    assert [give(desk, who, "equal").ticket for who in ("ann", "ann", "bob")] == [0, 1, 0]
    assert store.labels() == {0: 0.5}
    assert desk.next("cid").ticket == 1
    assert desk.progress("ann") | {"retest": None} == {
        "total": 6,
        "labelled": 1,
        "waiting": 5,
        "own": 2,
        "retest": None,
        "agreement": 1.0,
    }


def test_some_questions_come_again(store, desk):
    store.ask([fragments(2, seed=number) for number in range(40)], 1)
    tickets = [give(desk, "ann", "equal").ticket for _ in range(44)]
    assert tickets[20:24].count(0) == 1 and tickets[:20] == list(range(20))
    assert len(tickets) - len(set(tickets)) == 2
    assert len(store.labels()) == 42 and len(store.history()) == 42
    assert desk.progress("ann")["retest"] == 1.0


def test_how_often_people_err_is_found():
    """Three people with rates of 2, 10 and 30 % who judge the same 400 pairs."""
    draw, rates = np.random.default_rng(0), {"ann": 0.02, "bob": 0.1, "cid": 0.3}
    truth = draw.integers(0, 2, 400)
    answers = [
        (pair, who, float(right ^ (draw.random() < rate)))
        for pair, right in enumerate(truth)
        for who, rate in rates.items()
    ]
    found = mistake_rates(answers)
    for who, rate in rates.items():
        assert abs(found[who] - rate) < 3 * np.sqrt(0.25 * rate / 100) + 0.01
    assert mistake_rates([(0, "ann", 1.0), (1, "ann", 0.5)]) == {"ann": 0.05}


def test_what_several_people_say_together():
    assert combined([(1, 0.0), (0, 0.0), (1, 0.0)]) == pytest.approx(2 / 3)
    assert combined([(1, 0.1)]) == pytest.approx(0.9)
    assert combined([(0.5, 0.1)]) == pytest.approx(0.5)
    assert combined([(1, 0.1), (0, 0.1)]) == pytest.approx(0.5)
    odds = 0.9 / 0.1 * 0.3 / 0.7  # of the one who errs less
    assert combined([(1, 0.1), (0, 0.3)]) == pytest.approx(odds / (1 + odds))
    assert combined([(None, 0.1), (1, 0.1)]) == pytest.approx(0.9)
    assert combined([(None, 0.1)]) is None


def test_reliability_counts_in_the_labels(store, desk):
    store.label(0, 1, "ann")
    assert store.labels(reliability=True) == {0: pytest.approx(0.95)}
    assert store.labels() == {0: 1.0}


def test_many_questions_are_no_burden(store, desk):
    """What is asked next is looked up among thousands."""
    with store.database.transaction() as database:
        rows = [(number, 1, number, time.time(), "{}") for number in range(6, 5006)]
        database.executemany("INSERT INTO question VALUES (?, ?, ?, ?, ?)", rows)
        rows = [(number, "ann", 1.0) for number in range(4000)]
        database.executemany(
            "INSERT INTO answer (question, labeller, choice, value, given) VALUES (?, ?, 'first', "
            "?, 0)",
            rows,
        )
    store.set(repeats=0)
    assert desk.next("bob").ticket == 4000
    assert desk.progress("ann")["labelled"] == 4000
