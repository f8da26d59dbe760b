"""Damaged, foreign and newer run directories: one line each, and nothing changed."""

import numpy as np
import pytest

from runs.conftest import change_options, edit, sobirl
from sobirl.bilevel import checkpoint
from sobirl.experiments.rust_bus import RustBusRun
from sobirl.runs.directory import RunDirectory

pytestmark = pytest.mark.usefixtures("unrendered")


def damaged(path):
    path.write_bytes(path.read_bytes()[:-200])


def other_array(path):
    arrays = checkpoint.read_checkpoint(path)
    np.savez(path, **(arrays | {"state.x": np.zeros(7)}))


def without_key(path):
    arrays = checkpoint.read_checkpoint(path)
    np.savez(path, **{name: array for name, array in arrays.items() if name != "state.key"})


def newer(path):
    np.savez(path, **(checkpoint.read_checkpoint(path) | {"format": 99}))


def fewer_rows(path):
    arrays = checkpoint.read_checkpoint(path)
    np.savez(path, **(arrays | {"records.objective": arrays["records.objective"][:-1]}))


def objects(path):
    np.savez(path, **{"state.step": np.array([{}], object), "format": 1, "seconds": 1.0})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damaged, "checkpoint.npz: is damaged or no checkpoint of sobirl; without it the run can"),
        (lambda p: p.write_bytes(b""), "is damaged or no checkpoint of sobirl"),
        (lambda p: p.write_text("weights"), "is damaged or no checkpoint of sobirl"),
        (lambda p: np.save(p.open("wb"), np.zeros(3)), "is damaged or no checkpoint of sobirl"),
        (objects, "is damaged or no checkpoint of sobirl"),
        (other_array, "is not of this run (state.x should be float64(3,), is float64(7,))"),
        (without_key, "is not of this run (it differs in state.key)"),
        (fewer_rows, "is damaged (its rows are not those of 12 steps)"),
        (newer, "is from a newer sobirl (format 99, this one reads up to 1); upgrade sobirl"),
    ],
)
def test_damaged_checkpoints(stopped_run, damage, message):
    damage(stopped_run / "checkpoint.npz")
    before = (stopped_run / "checkpoint.npz").read_bytes()
    code, printed, error = sobirl("resume", stopped_run)
    assert (code, printed) == (2, "")
    assert message in error
    assert error.count("\n") == 1
    assert (stopped_run / "checkpoint.npz").read_bytes() == before
    assert not (stopped_run / "summary.json").exists()


@pytest.mark.parametrize("command", ["resume", "show", "report"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "(format 99, this one reads up to 2)"),
        ({"format": "one"}, "is not a run directory of sobirl"),
        ({"versions": ...}, "is not a run directory of sobirl"),
        ({"problem": 3}, "config.json: has no usable entry 'problem'"),
        ({"options": []}, "config.json: has no usable entry 'options'"),
        ({"inputs": ...}, "config.json: has no usable entry 'inputs'"),
    ],
)
def test_unusable_configurations(stopped_run, tmp_path, monkeypatch, command, changes, message):
    monkeypatch.chdir(tmp_path)
    edit(stopped_run / "config.json", **changes)
    code, printed, error = sobirl(command, stopped_run)
    assert (code, printed) == (2, "")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": "many"}, "config.json: num_steps should be a valid integer"),
        ({"num_steps": -4}, "num_steps should be greater than or equal to 1, got -4"),
        ({"method": "newton"}, "config.json: "),
        ({"speed": 3}, "config.json: random-mdp has no option 'speed'"),
        (
            {"instance": "gone.npz", "states": None, "dimension": None},
            "gone.npz: there is no such file",
        ),
    ],
)
def test_unusable_options(stopped_run, options, message):
    change_options(stopped_run, **options)
    code, _, error = sobirl("resume", stopped_run)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1


def test_a_run_of_an_older_version(stopped_run):
    """It can be shown and compared, but its options had other names."""
    edit(stopped_run / "config.json", format=1)
    code, _, error = sobirl("resume", stopped_run)
    assert code == 2
    assert "whose options had other names; only that version can go on" in error
    assert sobirl("show", stopped_run)[0] == 0


def test_a_checkpoint_of_other_options(stopped_run):
    change_options(stopped_run, seed=3)
    code, _, error = sobirl("resume", stopped_run)
    assert code == 2
    assert "checkpoint.npz: is of a run with other options or inputs" in error
    change_options(stopped_run, seed=0, quiet=False, checkpoint_seconds=3.0)
    assert sobirl("resume", stopped_run)[0] == 0


def test_an_unknown_problem(stopped_run):
    edit(stopped_run / "config.json", problem="chess")
    code, _, error = sobirl("resume", stopped_run)
    assert code == 2
    assert "config.json: this sobirl has no problem 'chess'" in error


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', "\x00", "[" * 100_000])
def test_no_configuration(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    for command in ("resume", "show", "report"):
        code, _, error = sobirl(command, tmp_path)
        assert code == 2
        assert error.count("\n") == 1
        assert str(tmp_path) in error


@pytest.mark.parametrize("command", ["resume", "show", "report"])
def test_no_run(tmp_path, command):
    assert "there is no such run" in sobirl(command, tmp_path / "nothing")[2]
    assert "is not a run directory of sobirl" in sobirl(command, tmp_path)[2]
    (tmp_path / "file").write_text("")
    assert "is not a run directory of sobirl" in sobirl(command, tmp_path / "file")[2]


@pytest.mark.parametrize(
    ("summary", "message"),
    [("{", "is damaged (no JSON)"), ("{}", "has no usable entry 'metrics'"), ("3", "is damaged")],
)
def test_damaged_summaries(stopped_run, summary, message):
    (stopped_run / "summary.json").write_text(summary)
    code, _, error = sobirl("show", stopped_run)
    assert code == 2
    assert f"summary.json: {message}" in error


def test_changed_inputs_are_refused(tmp_path):
    data, run = tmp_path / "panel.csv", tmp_path / "run"
    data.write_text("Bus_ID,period,state,usage,decision\n")
    with RunDirectory.create(RustBusRun(data=data, out=run)):
        pass
    data.write_text("Bus_ID,period,state,usage,decision\n1,0,0,,0\n")
    code, _, error = sobirl("resume", run)
    assert code == 2
    assert f"--data {data}: has changed since the run began" in error
    data.unlink()
    assert f"--data {data}: is gone" in sobirl("resume", run)[2]
