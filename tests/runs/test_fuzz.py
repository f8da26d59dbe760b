"""Whatever the bytes of a run directory are: a run, or one error in one line."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sobirl as sb
from fuzzing import mutated_bytes
from instances import INSTANCE
from sobirl.bilevel import checkpoint
from sobirl.experiments.registry import kind_of
from sobirl.problems.random_mdp import RandomMDP
from sobirl.runs.configuration import options_of
from sobirl.runs.report import comparison
from sobirl.runs.saved import SavedRun
from sobirl.runs.show import show

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just("runs")
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def one_line(function):
    """A result, or an error that the command line would show."""
    try:
        return function()
    except sb.SobirlError as error:
        assert len(" ".join(str(error).split())) < 2000
        return None


def read_all(path):
    """Everything that show, report and resume read."""
    run = one_line(lambda: SavedRun.load(path))
    if run is not None:
        one_line(lambda: list(show(run)))
        one_line(lambda: comparison([run]))
        one_line(run.metrics)
        one_line(lambda: options_of(run, kind_of(run)))


@pytest.fixture(scope="module")
def folder(ended_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "run"
    shutil.copytree(ended_run, path)
    return path


@st.composite
def changed_json(draw, content):
    """A JSON object with some entries replaced, at any depth, or gone."""
    whole = json.loads(content)
    for _ in range(draw(st.integers(1, 3))):
        place = whole
        while True:
            key = draw(st.sampled_from(sorted(place))) if place else "new"
            if not isinstance(place.get(key), dict) or draw(st.booleans()):
                break
            place = place[key]
        place[key] = draw(values)
        if draw(st.integers(0, 5)) == 0:
            del place[key]
    return json.dumps(whole).encode()


@pytest.mark.parametrize("name", ["config.json", "summary.json", "metrics.csv"])
@settings(max_examples=60)
@given(data=st.data())
def test_any_text(ended_run, folder, name, data):
    good = (ended_run / name).read_bytes()
    mutations = [mutated_bytes(good), st.binary(max_size=60)]
    if name.endswith("json"):
        mutations.append(changed_json(good))
    bad = data.draw(st.one_of(mutations))
    (folder / name).write_bytes(bad)
    read_all(folder)
    assert (folder / name).read_bytes() == bad
    shutil.copy(ended_run / name, folder / name)


@settings(max_examples=100)
@given(data=st.data())
def test_any_checkpoint(ended_run, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzzed.npz"
    good = (ended_run / "checkpoint.npz").read_bytes()
    path.write_bytes(data.draw(st.one_of(mutated_bytes(good), st.binary(max_size=60))))
    one_line(lambda: checkpoint.read_checkpoint(path))


@settings(max_examples=40)
@given(data=st.data())
def test_any_arrays_in_a_checkpoint(ended_run, tmp_path_factory, data):
    """Names, shapes and types at random: an array that does not fit is found."""
    path = tmp_path_factory.getbasetemp() / "fuzzed.npz"
    arrays = checkpoint.read_checkpoint(ended_run / "checkpoint.npz")
    name = data.draw(st.sampled_from(sorted(arrays)))
    array = data.draw(
        st.sampled_from(
            [np.zeros(0), np.array("x"), np.zeros((2, 2)), np.array(1 + 2j), np.array([b"x"])]
        )
    )
    np.savez(path, **(arrays | {name: array}))
    one_line(lambda: checkpoint.steps_in(checkpoint.read_checkpoint(path)))


@settings(max_examples=60)
@given(data=st.data())
def test_any_instance(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "instance.npz"
    path.write_bytes(data.draw(mutated_bytes(INSTANCE.read_bytes())))
    one_line(lambda: RandomMDP.load(path))
