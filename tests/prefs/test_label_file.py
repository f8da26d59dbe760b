"""Files of labelled pairs: what is written comes back, and what is none is refused in a line."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzzing import mutated_bytes
from sobirl.core import InvalidInputError
from sobirl.experience import Fragment
from sobirl.prefs import (
    LabelledPair,
    PreferenceStore,
    labels_into_store,
    labels_of_store,
    read_labels,
    write_labels,
)
from sobirl.prefs.label_file import LONG_AGO, filled

ARRAYS = ("observation", "action", "reward", "log_prob", "mask", "taken_at")


def pair(seed=0, observation="floats", action="indices", known=True, frames=1):
    """Fragments of 4 and 3 steps."""
    draw = np.random.default_rng(seed)
    shape, nothing = (2, 4 + frames - 1, 3, 2), np.full((2, 4), np.nan, np.float32)
    return Fragment(
        observation=draw.integers(0, 256, shape).astype(np.uint8)
        if observation == "bytes"
        else draw.normal(size=shape).astype(np.float32),
        action=draw.integers(0, 5, (2, 4)).astype(np.int32)
        if action == "indices"
        else draw.uniform(-1, 1, (2, 4, 2)).astype(np.float32),
        reward=draw.normal(size=(2, 4)).astype(np.float32) if known else nothing,
        log_prob=draw.normal(size=(2, 4)).astype(np.float32) if known else nothing,
        mask=np.arange(4) < np.array([[4], [3]]),
        taken_at=np.full(2, LONG_AGO, np.int32),
    )


SOME = [
    LabelledPair(
        pair(0), 1.0, "Game-v0", "ann", 'because "ü"\n', "2026-11-25T04:10:00Z", (True, None)
    ),
    LabelledPair(pair(1), None, "Game-v0"),
    LabelledPair(pair(2, known=False), 0.3, "Game-v0", terminal=(False, True)),
]


def assert_alike(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        for name in ARRAYS:
            a, b = getattr(one.pair, name), getattr(other.pair, name)
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), name
        for name in ("label", "environment", "labeller", "reason", "time", "terminal"):
            assert getattr(one, name) == getattr(other, name)


@pytest.fixture(params=[".jsonl", ".parquet"])
def path(tmp_path, request):
    if request.param == ".parquet":
        pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    return tmp_path / f"labels{request.param}"


@pytest.mark.parametrize(
    "pairs",
    [
        SOME,
        [LabelledPair(pair(s, "bytes", frames=4), 0.5, "ALE/Pong-v5") for s in range(70)],
        [LabelledPair(pair(3, action="numbers"), 0.0, "Walk-v1")],
    ],
    ids=["floats", "bytes", "continuous"],
)
def test_what_is_written_comes_back_bit_for_bit(path, pairs):
    write_labels(path, pairs)
    assert_alike(read_labels(path), pairs)


def test_what_is_read_says_where_it_was(path):
    write_labels(path, SOME)
    word = "line" if path.suffix == ".jsonl" else "row"
    assert [one.place for one in read_labels(path)] == [f"{path}, {word} {n}" for n in (1, 2, 3)]


def test_a_store_becomes_a_file(tmp_path, path):
    with PreferenceStore(tmp_path / "store") as store:
        for one in SOME:
            store.add(one.pair)
        store.label(2, 0.25, "ann", "it stands <still>")
        store.label(2, 1, "bob")
        store.label(1, None, "ann")
        exported = labels_of_store(store, "Game-v0")
    write_labels(path, exported)
    found = read_labels(path)
    said = [(one.label, one.labeller, one.reason) for one in found]
    assert said == [(None, "ann", None), (0.25, "ann", "it stands <still>"), (1, "bob", None)]
    assert_alike(found, exported)
    assert found[1].pair.observation.tobytes() == SOME[2].pair.observation.tobytes()


def test_a_file_becomes_a_store(tmp_path, path):
    """Exported and imported, a store says the same."""
    write_labels(path, SOME)
    with PreferenceStore(tmp_path / "store") as store:
        for one in SOME[:2]:
            store.add(one.pair)
        store.label(0, 1, "ann", "why")
        store.label(0, 0, "bob")
        store.label(1, None, "bob")
        write_labels(path, labels_of_store(store, "Game-v0"))
    with PreferenceStore(tmp_path / "other") as other:
        labels_into_store(other, read_labels(path))
        assert len(other) == 2 and other.settings() == {"environment": "Game-v0"}
        assert_alike(labels_of_store(other, "Game-v0"), read_labels(path))
        with pytest.raises(InvalidInputError, match="of several environments, Game-v0, Other-v0"):
            labels_into_store(other, [dataclasses.replace(SOME[0], environment="Other-v0")])


def line(**changes):
    """A line of a person who writes it by hand: nothing is there that need not be."""
    clip = {"observation": [[0.5, 1], [1, 2], [3, 4]], "action": [0, 1, 1]}
    short = {"observation": [[0.5, 1], [1, 2]], "action": [0, 1], "reward": [1, 0]}
    record = {"version": 1, "environment": "Game-v0", "label": 1, "first": clip, "second": short}
    for name, value in changes.items():
        *parts, last = name.split("__")
        inner = record
        for part in parts:
            inner[part] = inner = dict(inner[part])
        inner[last] = value
    return record


def test_a_shorter_fragment_is_filled_up(tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps(line()) + "\n\n")
    (found,) = read_labels(path)
    assert found.pair.mask.tolist() == [[True] * 3, [True, True, False]]
    assert found.pair.observation[1].tolist() == [[0.5, 1], [1, 2], [1, 2]]
    assert np.isnan(found.pair.reward[0]).all() and found.pair.reward[1].tolist() == [1, 0, 0]
    assert filled(found.pair, 5).mask.sum() == 5


def test_the_line_of_the_page(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "rlhf.md").read_text()
    path = tmp_path / "labels.jsonl"
    path.write_text(page.partition("```json\n")[2].partition("```")[0])
    (found,) = read_labels(path)
    assert (found.label, found.labeller, found.terminal) == (1, "ann", (None, True))
    assert found.pair.observation.shape == (2, 2, 4) and found.pair.mask.all()


BAD = [
    (line(label=1.1), "label: should be less than or equal to 1, got 1.1"),
    (line(label=-0.1), "label: should be greater than or equal to 0"),
    (line(label="first"), "label: should be a valid number"),
    (line(label=True), "label: should be a valid number"),
    (line(version=2), "version: is the newer 2, this sobirl reads up to 1; upgrade sobirl"),
    (line(version=0), "version: should be greater than or equal to 1"),
    (line(environment=""), "environment: string should have at least 1 character"),
    (line(label_of="me"), "label_of: is no entry of the schema"),
    (line(first__frames=[1]), "first.frames: is no entry of the schema"),
    (line(time="noon"), "time: must be as 2026-11-25T04:10:00+00:00 (ISO 8601), got 'noon'"),
    ({"version": 1}, "environment: field required"),
    ([1], "is no labelled pair (should be"),
    (3, "is no labelled pair"),
    (line(first__action=[]), "first.action: must not be empty"),
    (line(first__action=[0, None, 1]), "first.action: must be an array of numbers"),
    (line(first__action=["a"] * 3), "first.action: must be an array of numbers"),
    (line(first__action=[[0], [1, 2], [3]]), "first.action: its entries differ in shape"),
    (line(first__action=[0] * 4), "first: must have at least one action and no fewer frames than"),
    (line(first__action=[[0.5]] * 3), "action: of first and second must be alike, got the shapes"),
    (line(first__action=[0, 1]), "observation: has so many frames more than steps as the network"),
    (line(second__observation=[[1], [2]]), "observation: of first and second must be alike"),
    (line(second__observation=[[1, 1e39], [2, 2]]), "second.observation: must be finite"),
    (line(second__reward=[1]), "second.reward: must have one entry an action, (2,), got (1,)"),
    (line(second__mask=[False, False]), "second.mask: leaves no step"),
    (line(second__mask=[1, 0]), "second.mask: must be an array of true and false"),
    (line(second__terminal=1), "second.terminal: should be a valid boolean"),
]


@pytest.mark.parametrize(("record", "message"), BAD)
def test_a_bad_line(tmp_path, record, message):
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(json.dumps(entry) for entry in (line(), line(), record, line())))
    with pytest.raises(InvalidInputError) as raised:
        read_labels(path)
    told = str(raised.value)
    assert told.startswith(f"{path}, line 3: {message}") and "\n" not in told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected labelled pairs"),
        ("\n\n", "is empty; expected labelled pairs"),
        (
            json.dumps(line()) + "\n" + json.dumps(line())[:-20],
            "line 2: is no JSON; the file seems",
        ),
        (json.dumps(line()) + "\nhello\n" + json.dumps(line()), "line 2: is no JSON"),
        (json.dumps(line(label=float("nan"))), "line 1: NaN is no number that can be learned from"),
        ("[" * 10**6, "line 1: is no JSON"),
    ],
)
def test_a_bad_file(tmp_path, text, message):
    path = tmp_path / "labels.jsonl"
    path.write_text(text)
    with pytest.raises(InvalidInputError) as raised:
        read_labels(path)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_no_file(path):
    with pytest.raises(InvalidInputError, match=r"cannot be read \(No such file"):
        read_labels(path)
    with pytest.raises(InvalidInputError, match=r"must end with .jsonl or .parquet"):
        read_labels(path.with_suffix(".csv"))
    with pytest.raises(InvalidInputError, match="cannot be written"):
        write_labels(path.parent / "missing" / path.name, SOME)


def test_nothing_is_written_that_cannot_be_read(path):
    write_labels(path, SOME)
    before = path.read_bytes()
    for bad in (
        [],
        [LabelledPair(pair(0), 2.0, "Game-v0")],
        [*SOME, LabelledPair(pair(0), 1.0, "")],
        [LabelledPair(pair(0), 1.0, "Game-v0", time="noon")],
    ):
        with pytest.raises(InvalidInputError):
            write_labels(path, bad)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_a_table_of_two_kinds(tmp_path):
    pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    mixed = [SOME[0], LabelledPair(pair(0, "bytes"), 1.0, "Game-v0")]
    with pytest.raises(
        InvalidInputError, match="observation: pairs of one table must be of the sa"
    ):
        write_labels(tmp_path / "labels.parquet", mixed)
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_others(tmp_path):
    """Doubles, small integers and long lists, as other programs write them; and what is ragged."""
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet as parquet

    path = tmp_path / "labels.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([line(), line(label=None)]), path)
    found = read_labels(path)
    assert [one.label for one in found] == [1, None]
    assert found[0].pair.observation.dtype == np.float32
    ragged = line(first__observation=[[1.0, 2], [1], [2]])
    parquet.write_table(pyarrow.Table.from_pylist([line(), ragged]), path)
    with pytest.raises(InvalidInputError, match=r"row 2: first.observation: its entries differ"):
        read_labels(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InvalidInputError, match="is damaged or no Parquet file"):
        read_labels(path)


@given(data=st.data())
def test_whatever_stands_in_a_file(tmp_path_factory, data):
    """Either labelled pairs, all as they should be, or one line that begins with the file."""
    path = tmp_path_factory.mktemp("labels") / "labels.jsonl"
    written = ("\n".join(json.dumps(line(label=n / 4)) for n in range(3)) + "\n").encode()
    path.write_bytes(data.draw(mutated_bytes(written)))
    try:
        found = read_labels(path)
    except InvalidInputError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
        return
    for one in found:
        assert one.label is None or 0 <= one.label <= 1
        assert np.isfinite(one.pair.observation).all() and one.pair.mask.any(axis=1).all()


@given(data=st.data())
def test_whatever_stands_in_a_table(tmp_path_factory, data):
    pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    path = tmp_path_factory.mktemp("labels") / "labels.parquet"
    write_labels(path, SOME)
    path.write_bytes(data.draw(mutated_bytes(path.read_bytes())))
    try:
        found = read_labels(path)
    except InvalidInputError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
        return
    assert all(one.pair.mask.any(axis=1).all() for one in found)


_ENTRIES = ("version", "environment", "label", "first", "first__observation", "first__action")
_ENTRIES += ("second__reward", "second__mask", "second__log_prob", "second__terminal", "time")
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=8,
)


@given(
    name=st.sampled_from(_ENTRIES),
    value=_ANYTHING,
)
def test_whatever_stands_in_an_entry(tmp_path_factory, name, value):
    path = tmp_path_factory.mktemp("labels") / "labels.jsonl"
    path.write_text(json.dumps(line(**{name: value})))
    try:
        (found,) = read_labels(path)
    except InvalidInputError as error:
        assert str(error).startswith(f"{path}, line 1: ") and "\n" not in str(error)
        return
    write_labels(path, [found])
    assert_alike(read_labels(path), [found])
