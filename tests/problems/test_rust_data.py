"""Panels as CSV files: round trips, and one clear error for everything that is no panel."""

import importlib.resources
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sobirl as sb
from sobirl.problems import rust_bus
from sobirl.problems.rust_data import COLUMNS, Panel, load_panel, to_csv

GOOD = """Bus_ID,period,state,usage,decision
a,0,0,,0
a,1,1,1,0
a,2,2,1,1
a,3,0,1,0
b,0,0,,0
b,1,2,2,0
b,2,2,0,0
"""


def load(tmp_path, content):
    path = tmp_path / "panel.csv"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content, encoding="utf-8", newline="")
    return load_panel(path)


def assert_same(one, other):
    for column in ("bus", "period", "state", "usage", "decision"):
        np.testing.assert_array_equal(getattr(one, column), getattr(other, column))


def test_good_file(tmp_path):
    panel = load(tmp_path, GOOD)
    np.testing.assert_array_equal(panel.bus, list("aaaabbb"))
    np.testing.assert_array_equal(panel.usage, [-1, 1, 1, 1, -1, 2, 0])
    counts = np.zeros((90, 2))
    counts[[0, 1, 2], 0] = 1, 1, 2
    counts[2, 1] = 1
    np.testing.assert_array_equal(panel.decision_counts, counts)
    np.testing.assert_array_equal(panel.usage_counts, [1, 3, 1])
    np.testing.assert_allclose(panel.transition_probabilities, [0.2, 0.6, 0.2])


def test_a_new_engine_begins_at_0_or_at_its_first_increment(tmp_path):
    np.testing.assert_array_equal(load(tmp_path, changed(5, "a,3,1,1,0")).state[3], 1)


def test_mileage_ends_in_the_last_bin(tmp_path):
    rows = "c,1,88,,0\nc,2,89,2,0\nc,3,89,1,1\n"
    np.testing.assert_array_equal(load(tmp_path, GOOD + rows).state[-3:], [88, 89, 89])


def test_buses_may_take_turns(tmp_path):
    header, *rows = GOOD.splitlines()
    turns = sorted(rows, key=lambda row: row.split(",")[1])
    assert len(load(tmp_path, "\n".join([header, *turns])).state) == 7


@pytest.mark.parametrize(
    "variant",
    [
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", "\r"),
        GOOD.replace(",", " , "),
        GOOD.rstrip("\n"),
        "\n" + GOOD + "\n\n,,,,\n",
        "\ufeff" + GOOD,
        GOOD.replace(",1\n", ",1.0\n").replace(",0\n", ",0.\n"),
        "\n".join(line + ",x" for line in GOOD.splitlines()),
        "\n".join(",".join(reversed(line.split(","))) for line in GOOD.splitlines()),
        "\n".join(",".join(f'"{field}"' for field in line.split(",")) for line in GOOD.split()),
        GOOD.replace("a,0,0,,0", "a,0,0,2,0"),
    ],
    ids=lambda text: repr(text[:12]),
)
def test_variants_of_a_good_file(tmp_path, variant):
    panel = load(tmp_path, variant)
    np.testing.assert_array_equal(panel.usage_counts, [1, 3, 1])
    np.testing.assert_array_equal(panel.state, [0, 1, 2, 0, 0, 2, 2])


def test_simulated_panel_comes_back(tmp_path):
    panel = rust_bus.simulate(buses=30, periods=60, replacement_cost=6.0, seed=2)
    assert_same(panel, load(tmp_path, to_csv(panel)))


def test_shipped_data_comes_back(tmp_path):
    panel = rust_bus.group4()
    assert_same(panel, load(tmp_path, to_csv(panel)))


def changed(line, text):
    """GOOD with another line (counted from 1)."""
    lines = GOOD.splitlines()
    lines[line - 1] = text
    return "\n".join(lines) + "\n"


KEPT = GOOD.replace("a,2,2,1,1\na,3,0", "a,2,2,1,0\na,3,3")
BAD = {
    "empty": ("", "is empty"),
    "blank": ("\n  \n", "is empty"),
    "header only": ("Bus_ID,period,state,usage,decision\n", "has a header but no rows"),
    "binary": (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", r"is not a text file \(UTF-8\)"),
    "NUL bytes": (b"\x00" * 100, "there is no column Bus_ID"),
    "no header": (GOOD.split("\n", 1)[1], "line 1: there is no column Bus_ID.*got 'a,0,0,,0'"),
    "other separator": (
        GOOD.replace(",", ";"),
        "no column Bus_ID; expected Bus_ID, period.*commas",
    ),
    "missing column": (GOOD.replace("decision", "choice"), "line 1: there is no column decision"),
    "column twice": (GOOD.replace("usage", "state"), "line 1: column state is there more"),
    "columns twice": (
        "".join(line + ",0\n" for line in GOOD.splitlines()).replace(
            "decision,0", "decision,state"
        ),
        "line 1: column state is there more than once",
    ),
    "short row": (changed(4, "a,2,2,1"), "line 4: has 4 fields where the header has 5"),
    "long row": (changed(4, "a,2,2,1,1,7"), "line 4: has 6 fields where the header has 5"),
    "no bus": (changed(4, ",2,2,1,1"), "line 4, column Bus_ID: must not be empty"),
    "text": (
        changed(4, "a,2,old,1,1"),
        "line 4, column state: must be a whole.*0 to 89, got 'old'",
    ),
    "fraction": (changed(4, "a,2,2.5,1,1"), "line 4, column state: .*got '2.5'"),
    "NaN": (changed(4, "a,2,nan,1,1"), "line 4, column state: .*got 'nan'"),
    "infinite": (changed(4, "a,2,inf,1,1"), "line 4, column state: .*got 'inf'"),
    "empty state": (changed(4, "a,2,,1,1"), "line 4, column state: .*got nothing"),
    "state 90": (changed(4, "a,2,90,1,1"), "line 4, column state: .*0 to 89, got '90'"),
    "negative state": (changed(4, "a,2,-1,1,1"), "line 4, column state: .*got '-1'"),
    "period": (
        changed(4, "a,-2,2,1,1"),
        "line 4, column period: must be a whole number, at least 0",
    ),
    "huge period": (changed(4, f"a,{'9' * 5000},2,1,1"), "line 4, column period: .*999\\.\\.\\.'"),
    "decision 2": (changed(4, "a,2,2,1,2"), r"line 4, column decision: must be 0 \(keep\) or 1"),
    "yes": (changed(4, "a,2,2,1,yes"), "line 4, column decision: .*got 'yes'"),
    "negative usage": (
        changed(4, "a,2,2,-1,1"),
        "line 4, column usage: must be 0, 1 or 2, got '-1'",
    ),
    "usage 3": (changed(4, "a,2,2,3,1"), "line 4, column usage: must be 0, 1 or 2, got '3'"),
    "no usage": (changed(4, "a,2,2,,1"), "line 4, column usage: .*first row only.*got nothing"),
    "duplicate": (changed(5, "a,2,0,1,0"), "line 5, column period: bus 'a' has period 2 twice"),
    "order": (
        GOOD.replace("a,1,1,1,0\na,2,2,1,1\n", "a,2,1,1,0\na,1,2,1,1\n"),
        "line 4, column period: bus 'a' has period 1 after 2; the rows of a bus must be in order",
    ),
    "no replacement": (KEPT, "no replacement .*no maximum"),
    "replaced in period 0 only": (
        KEPT.replace("a,0,0,,0", "a,0,0,,1"),
        "no replacement .*period 1 or later",
    ),
    "no keep": (
        "Bus_ID,period,state,usage,decision\na,0,0,,0\na,1,1,1,1\n",
        "no kept engine .*no maximum",
    ),
    "no increments": (
        "Bus_ID,period,state,usage,decision\na,1,0,,0\nb,1,3,,1\n",
        "column usage is empty in every row",
    ),
    "a step too far": (
        changed(4, "a,2,3,1,1"),
        "line 4, column state: bus 'a' has state 3 after state 1 and usage 1, without a "
        "replacement; must be 2",
    ),
    "usage of another month": (changed(8, "b,2,2,1,0"), "line 8, .* and usage 1, .* must be 3"),
    "back without a replacement": (changed(8, "b,2,0,0,0"), "line 8, column state: .* must be 2"),
    "on after a replacement": (
        changed(5, "a,3,3,1,0"),
        "line 5, column state: bus 'a' has state 3 after a replacement; must be 0, or the new "
        "engine's usage, 1",
    ),
    "open quote": (changed(4, 'a,2,2,1,"1'), "line 4, column decision: "),
    "huge field": (changed(4, f"a,2,{'1' * 200_000},1,1"), "line 4: not CSV"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_bad_files(tmp_path, content, message):
    with pytest.raises(sb.InvalidInputError, match=message) as raised:
        load(tmp_path, content)
    assert "panel.csv" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(sb.InvalidInputError, match="there is no such file"):
        load_panel(tmp_path / "missing.csv")
    with pytest.raises(sb.InvalidInputError, match="is a directory"):
        load_panel(tmp_path)
    with pytest.raises(sb.InvalidInputError, match="not a regular file"):
        load_panel("/dev/null")
    with pytest.raises(sb.InvalidInputError):
        load_panel("nul\0byte")
    with pytest.raises(sb.InvalidInputError):
        load_panel("x" * 5000)


fields = st.one_of(
    st.integers(-3, 95).map(str),
    st.sampled_from(["", " ", "0", "1", "1.0", "a", "nan", "-inf", "1e3", "٣", '"', "\x00"]),
    st.text(max_size=5),
)
tables = st.lists(st.lists(fields, min_size=4, max_size=6), max_size=8).map(
    lambda rows: "\n".join([",".join(COLUMNS), *(",".join(row) for row in rows)])
)


@st.composite
def mutations(draw):
    """The bytes of a good file with a few of them changed, removed or repeated."""
    content = bytearray(GOOD.encode())
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content) - 1))
        piece = draw(st.one_of(st.binary(max_size=3), st.sampled_from([b",", b"\n", b'"', b"9"])))
        content[place : place + draw(st.integers(0, 3))] = piece
        content = content or bytearray(b"x")
    return bytes(content)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@given(content=st.one_of(st.binary(max_size=200), tables, mutations()), seed=st.integers(0, 99))
def test_reader_gives_a_panel_or_one_error(folder, content, seed):
    batch = [content]
    if isinstance(content, bytes):  # a few shuffles for the price of one example
        lines = content.split(b"\n")
        random.Random(seed).shuffle(lines)
        batch.append(b"\n".join(lines))
    for each in batch:
        try:
            panel = load(folder, each)
        except sb.InvalidInputError as error:
            assert "\n" not in str(error)
        else:
            assert panel.state.min() >= 0
            assert np.isfinite(panel.transition_probabilities).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": np.array([0, 90])}, r"state: must be .*0 to 89, got 90 at index \[1\]"),
        ({"decision": np.array([0, 2])}, "decision: must be 0"),
        ({"usage": np.array([-2, 1])}, "usage: must be 0, 1 or 2, got -2"),
        (
            {"state": np.array([0, 3])},
            "state: row 1, bus 'a' has state 3 after state 0 and usage 1",
        ),
        (
            {"decision": np.array([1, 0]), "state": np.array([4, 5])},
            "row 1, .* after a replacement",
        ),
    ],
)
def test_bad_panels(changes, message):
    arrays = {
        "bus": np.array(["a", "a"]),
        "period": np.array([0, 1]),
        "state": np.array([0, 1]),
        "usage": np.array([-1, 1]),
        "decision": np.array([0, 0]),
    }
    Panel(**arrays)
    with pytest.raises(sb.InvalidInputError, match=message):
        Panel(**(arrays | changes))


def test_shipped_file_is_in_the_package():
    resource = importlib.resources.files("sobirl.problems") / "data" / "rust1987_group4.csv"
    assert resource.is_file()
