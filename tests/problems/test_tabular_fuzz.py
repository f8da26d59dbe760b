"""Whatever the bytes of a file are: a tabular problem, or one error in one line."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import sobirl as sb
import tabular_tables as tables
from fuzzing import mutated_bytes
from sobirl.problems.tabular import Tabular, load

T, R = tables.TRANSITIONS, tables.REWARDS


def accepts_or_explains(*files):
    """A problem or one line: what `load` must make of any bytes."""
    try:
        tabular = load(*files)
    except sb.InvalidInputError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
    else:
        assert isinstance(tabular, Tabular)
        assert np.isfinite(tabular.features).all()
        assert all("\n" not in note for note in tabular.notes())


cells = st.one_of(
    st.sampled_from(
        ["", " ", "0", "1", "0.5", "1.0", "-1", "nan", "1e400", '"', "\x00", "\n", "٣"]
    ),
    st.sampled_from(["rested", "tired", "weekend", "work", "hurry", "sleep"]),
    st.text(max_size=5),
)
raw = st.one_of(st.binary(max_size=100), st.text(max_size=100))


@st.composite
def mutated_tables(draw, content):
    """A good file with some of its cells replaced and its lines moved, cut or repeated."""
    rows = [line.split(",") for line in content.splitlines()]
    for _ in range(draw(st.integers(0, 3))):
        row = rows[draw(st.integers(0, len(rows) - 1))]
        row[draw(st.integers(0, len(row) - 1))] = draw(cells)
    for _ in range(draw(st.integers(0, 2))):
        rows.insert(draw(st.integers(1, len(rows))), rows[draw(st.integers(1, len(rows) - 1))])
    text = "\n".join(",".join(row) for row in rows)
    return text[: draw(st.integers(0, 2 * len(text)))]


def contents(content):
    return st.one_of(mutated_tables(content), mutated_bytes(content.encode()), raw)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@settings(max_examples=150)
@given(transitions=contents(T), rewards=contents(R))
def test_any_csv_is_a_problem_or_one_error(folder, transitions, rewards):
    for files in ((transitions, R), (T, rewards), (transitions, rewards)):
        accepts_or_explains(
            *tables.write_tables(folder, *(_encodable(content) for content in files))
        )


def _encodable(content):
    return content.encode(errors="surrogatepass") if isinstance(content, str) else content


kinds = st.one_of(
    hnp.scalar_dtypes(), st.sampled_from(["f8", "f4", "i8", "?", "<U3"]).map(np.dtype)
)
dimensions = st.lists(st.sampled_from([0, 1, 2, 3]), max_size=4).map(tuple)
any_array = hnp.arrays(kinds, dimensions)


def real_array(name):
    """An array with the right shape, and any numbers."""
    shape = tables.ARRAYS[name].shape
    return hnp.arrays(st.sampled_from([np.dtype("f8"), np.dtype("f4"), np.dtype("i2")]), shape)


@settings(max_examples=100)
@given(data=st.data())
def test_any_arrays_are_a_problem_or_one_error(folder, data):
    changes = {}
    names = [*tables.ARRAYS, "initial", "discount", "temperature", "transfer", "other"]
    for name in data.draw(st.lists(st.sampled_from(names), max_size=3, unique=True)):
        right = name in tables.ARRAYS and data.draw(st.booleans())
        changes[name] = data.draw(st.one_of(st.none(), real_array(name) if right else any_array))
    accepts_or_explains(tables.write_arrays(folder, **changes))


@settings(max_examples=150)
@given(data=st.data())
def test_any_bytes_are_a_problem_or_one_error(folder, data):
    path = tables.write_arrays(folder)
    if data.draw(st.booleans()):  # compressed
        with np.load(path) as file:
            np.savez_compressed(path, **file)
    content = path.read_bytes()
    path.write_bytes(data.draw(st.one_of(mutated_bytes(content), st.binary(max_size=50))))
    accepts_or_explains(path)
