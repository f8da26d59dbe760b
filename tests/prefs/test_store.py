import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experience.streams import assert_equal, fragments
from fuzzing import mutated_bytes
from sobirl.core import InvalidInputError
from sobirl.experience import Fragment
from sobirl.prefs import PreferenceStore, Showing

PAIRS = fragments(4, 2)


def pair(row):
    return jax.tree.map(lambda leaf: leaf[row], PAIRS)


def arrays(fragment):
    return {name: leaf for name, leaf in vars(fragment).items() if leaf is not None}


@pytest.fixture
def path(tmp_path):
    """A store of four pairs, two of them labelled and one skipped."""
    with PreferenceStore(tmp_path / "some" / "store") as store:
        assert [store.add(pair(row)) for row in range(4)] == [0, 1, 2, 3]
        for ticket, value in ((2, 1), (0, 0.5), (3, None), (2, 0.25)):
            store.label(ticket, value)
    return tmp_path / "some" / "store"


def test_what_was_given_comes_back(path):
    with PreferenceStore(path) as store:
        assert len(store) == 4
        assert_equal(store.pairs([0, 1, 2, 3]), PAIRS)
        assert_equal(store.pairs([2]), jax.tree.map(lambda leaf: leaf[2:3], PAIRS))
        assert store.labels() == {0: 0.5, 2: 0.25, 3: None}
        assert store.history() == [(2, 1.0), (0, 0.5), (3, None), (2, 0.25)]
        assert store.unlabelled() == [1]
        assert store.add(pair(0)) == 4
        assert store.unlabelled() == [1, 4]


def test_arrays_of_jax_and_continuous_actions(tmp_path):
    some = fragments(2, frames=6)
    some = Fragment(**{**vars(some), "action": np.ones((2, 4, 3), np.float32)})
    with PreferenceStore(tmp_path) as store:
        store.add(jax.tree.map(jax.numpy.asarray, some))
        assert_equal(store.pairs([0]), jax.tree.map(lambda leaf: leaf[None], some))


def test_states_are_not_kept(tmp_path):
    some = Fragment(**{**vars(fragments(2)), "state": {"x": np.ones((2, 4, 3))}})
    with PreferenceStore(tmp_path) as store:
        store.add(some)
        assert_equal(store.pairs([0]), jax.tree.map(lambda leaf: leaf[None], fragments(2)))


def test_two_processes_at_a_time(path):
    with PreferenceStore(path) as one, PreferenceStore(path) as other:
        one.label(1, 0.5)
        assert other.labels()[1] == 0.5
        assert other.add(pair(0)) == 4
        assert len(one) == 5


def test_a_closed_store(path):
    store = PreferenceStore(path)
    store.close()
    store.close()
    for call in (lambda: store.label(0, 1), lambda: store.add(pair(0)), store.labels):
        with pytest.raises(InvalidInputError, match="closed"):
            call()


def test_several_threads(path):
    with PreferenceStore(path) as store:
        threads = [
            threading.Thread(target=lambda: [store.label(store.add(pair(0)), 1) for _ in range(5)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store) == 24
        assert store.unlabelled() == [1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda store: store.label(4, 1), "ticket: there is no 4; the store has 4 pairs"),
        (lambda store: store.label(-1, 1), "ticket: there is no -1"),
        (lambda store: store.label(0, 1.5), "value: must be between 0 and 1 or None, got 1.5"),
        (lambda store: store.label(0, float("nan")), "value: must be between 0 and 1 or None"),
        (lambda store: store.pairs([0, 9]), "ticket: there is no 9"),
        (lambda store: store.pairs([]), "tickets: must name at least one pair"),
        (lambda store: store.add(fragments(3)), r"pair: must have the leading axis \(2,\), got"),
        (
            lambda store: store.pairs([0, store.add(fragments(2, length=5))]),
            "tickets: pairs 0 and 4 cannot go together, their observation has shapes",
        ),
        (
            lambda store: store.add(Fragment(**{**vars(pair(0)), "action": _OBJECTS})),
            "action: cannot be stored as object; use numbers",
        ),
    ],
)
def test_bad_input(path, call, message):
    with PreferenceStore(path) as store:
        with pytest.raises(InvalidInputError, match=message):
            call(store)
        assert len(store.history()) == 4


_OBJECTS = np.full((2, 4), None)


@pytest.mark.parametrize("kills", [4, pytest.param(50, marks=pytest.mark.slow)])  # seconds each
def test_killed_at_any_moment(tmp_path, kills):
    command = [sys.executable, "-m", "prefs.store_process", str(tmp_path / "store"), kills, 1]
    tests = Path(__file__).parents[1]
    process = subprocess.run([*map(str, command)], cwd=tests, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith(f"killed {kills} acknowledged ")
    assert int(process.stdout.split()[-1]) > 2 * kills


def test_what_a_kill_leaves_of_a_pair_is_written_over(path):
    (path / "pairs" / ".00000004.npz.draft").write_bytes(b"PK half a file")
    (path / "pairs" / "00000004.npz").write_bytes(b"a pair of which nothing was said")
    with PreferenceStore(path) as store:
        assert len(store) == 4
        assert store.add(pair(1)) == 4
        assert_equal(store.pairs([4]), jax.tree.map(lambda leaf: leaf[1:2], PAIRS))


def test_what_a_kill_leaves_of_a_new_store(tmp_path):
    (tmp_path / "store.sqlite").touch()
    with PreferenceStore(tmp_path) as store:
        assert store.add(pair(0)) == 0


def test_a_missing_pair(path):
    (path / "pairs" / "00000001.npz").unlink()
    with PreferenceStore(path) as store, pytest.raises(InvalidInputError, match=r"1\.npz: is gone"):
        store.pairs([0, 1])


def test_a_round_asks_once(tmp_path):
    """The same round again, as after a kill, has the tickets that it had; the order is kept."""
    showing = [Showing(b"RIFF", {"frames": 5}), Showing(b"RIFF2", {"frames": 6})]
    with PreferenceStore(tmp_path) as store:
        assert store.ask([pair(0), pair(1)], 0, showing) == [0, 1]
        assert store.ask([pair(2)], 1) == [2]
        assert store.ask([pair(3), pair(3)], 0) == [0, 1]
        assert len(store) == 3
        assert store.pictures(1).read_bytes() == b"RIFF2"
        assert store.about(0) == {"frames": 5} and store.about(2) == {}


def test_every_label_is_learned_from_once(path):
    with PreferenceStore(path) as store:
        assert store.take(3) == {0: 0.5, 2: 0.25}
        assert store.take(4) == {}
        store.label(1, 1)
        assert store.take(5) == {1: 1.0}
        assert store.first_seen() == {0: 3, 2: 3, 3: 3, 1: 5}
        assert store.take(5) == {1: 1.0}  # the round is done again, as after a kill
        assert store.take(3) == {0: 0.5, 1: 1.0, 2: 0.25}
        assert set(store.first_seen().values()) == {3}


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(file.read_bytes()[:-30]),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:400] + b"?" + file.read_bytes()[401:]),
        lambda file: np.savez(file, mask=np.ones((2, 4), bool)),
        lambda file: np.savez(file, **arrays(fragments(3))),
        lambda file: np.savez(file, **{**arrays(fragments(2)), "action": _OBJECTS}),
    ],
)
def test_a_damaged_pair(path, damage):
    damage(path / "pairs" / "00000001.npz")
    with PreferenceStore(path) as store:
        assert_equal(store.pairs([0]), jax.tree.map(lambda leaf: leaf[:1], PAIRS))
        with pytest.raises(InvalidInputError, match=r"00000001\.npz: (is damaged|holds no pair)"):
            store.pairs([0, 1])


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("PRAGMA user_version = 2", "has version 2, this sobirl reads version 1"),
        ("PRAGMA application_id = 7", "is no store of preferences"),
        ("DROP TABLE answer", "no such table"),
    ],
)
def test_other_stores(path, statement, message):
    connection = sqlite3.connect(path / "store.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()
    with pytest.raises(InvalidInputError, match=message), PreferenceStore(path) as store:
        store.labels()


def test_directories_that_are_no_stores(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInputError, match="is not empty and no store of preferences"):
        PreferenceStore(tmp_path)
    assert os.listdir(tmp_path) == ["notes.txt"]
    for place in (tmp_path / "notes.txt", tmp_path / "notes.txt" / "store"):
        with pytest.raises(InvalidInputError, match="cannot be a store of preferences"):
            PreferenceStore(place)


@given(data=st.data())
def test_damage_of_any_kind_is_reported(tmp_path_factory, data):
    """Whatever becomes of a file, it is one clear error, or labels and pairs of the right form."""
    path = tmp_path_factory.mktemp("store")
    with PreferenceStore(path) as store:
        store.add(pair(0))
        store.label(0, 0.5)
    name = data.draw(st.sampled_from(["store.sqlite", "pairs/00000000.npz"]))
    (path / name).write_bytes(data.draw(mutated_bytes((path / name).read_bytes())))
    try:
        with PreferenceStore(path) as store:
            assert set(store.labels()) <= {0}
            assert store.pairs([0]).mask.shape[:2] == (1, 2)
    except InvalidInputError as error:
        assert str(path) in str(error) or "the store has 0 pairs" in str(error)  # emptied
