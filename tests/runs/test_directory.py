"""Run directories at their borders: other processes, other versions, damage, full disks."""

import dataclasses
import json
import math
import os
import shlex

import numpy as np
import optax
import pytest

import sobirl as sb
from arguments import options_from
from runs.conftest import SMALL, sobirl
from sobirl.bilevel import checkpoint
from sobirl.core.locks import lock
from sobirl.experiments.four_rooms import FourRoomsRun
from sobirl.experiments.random_mdp import RandomMDPRun
from sobirl.experiments.rust_bus import RustBusRun
from sobirl.experiments.tabular import TabularRun
from sobirl.problems.random_mdp import TargetPolicy
from sobirl.runs import directory
from sobirl.runs.arguments import to_arguments
from sobirl.runs.configuration import configuration
from sobirl.runs.decoding import decode
from sobirl.runs.directory import RunDirectory
from sobirl.runs.outcome import Outcome
from sobirl.runs.saved import SavedRun

pytestmark = pytest.mark.usefixtures("unrendered")


def numbers(path):
    summary = json.loads((path / "summary.json").read_text())
    return {k: v for k, v in summary.items() if not k.endswith("_seconds")}


def test_what_a_run_leaves(ended_run):
    arrays = checkpoint.read_checkpoint(ended_run / "checkpoint.npz")
    assert arrays["state.step"] == 12
    assert {"state.x", "state.key", "records.objective", "seconds", "format"} <= arrays.keys()
    assert (ended_run / "metrics.csv").read_text().count("\n") == 13


def test_a_run_without_a_checkpoint_begins_anew(ended_run, stopped_run):
    (stopped_run / "checkpoint.npz").unlink()
    (stopped_run / "metrics.csv").unlink()
    assert sobirl("resume", stopped_run)[0] == 0
    assert numbers(stopped_run) == numbers(ended_run)
    assert (stopped_run / "metrics.csv").read_text() == (ended_run / "metrics.csv").read_text()


def test_leftovers_of_a_kill_are_harmless(ended_run, stopped_run):
    (stopped_run / ".checkpoint.npz.draft").write_bytes(b"PK half a file")
    (stopped_run / ".summary.json.draft").write_text('{"problem": ')
    with (stopped_run / "metrics.csv").open("a") as file:
        file.write("13,0.25,")
    assert sobirl("show", stopped_run)[0] == 0
    assert sobirl("resume", stopped_run)[0] == 0
    assert numbers(stopped_run) == numbers(ended_run)
    assert (stopped_run / "metrics.csv").read_text() == (ended_run / "metrics.csv").read_text()
    assert not list(stopped_run.glob(".*.draft"))


def test_an_ended_run_is_left_alone(ended_run):
    before = {path: path.stat().st_mtime_ns for path in ended_run.rglob("*")}
    code, printed, _ = sobirl("resume", ended_run)
    assert code == 0
    assert "has ended; see it with: sobirl show" in printed
    assert {path: path.stat().st_mtime_ns for path in ended_run.rglob("*")} == before


def test_a_run_without_steps_starts_over(tmp_path, monkeypatch):
    """rust-bus takes milliseconds, so that its directory holds no checkpoint."""
    run, summary = tmp_path / "bus", {"method": "newton", "steps": 2, "metrics": {}}
    with RunDirectory.create(RustBusRun(out=run, quiet=True)):
        pass

    def run_again(self, recorder):
        assert recorder is None
        return Outcome(summary, {"objective": np.ones(2)}, ["a table"], {})

    monkeypatch.setattr(RustBusRun, "run", run_again)
    code, printed, _ = sobirl("resume", run)
    assert code == 0
    assert printed.startswith("a table")
    written = json.loads((run / "summary.json").read_text())
    assert written.keys() - summary.keys() == {"compile_seconds", "run_seconds", "wall_seconds"}
    assert summary.items() <= written.items()
    assert (run / "metrics.csv").read_text() == "step,objective\n1,1.0\n2,1.0\n"


def test_a_run_in_use_is_refused(stopped_run):
    with lock(stopped_run):
        for command in (("resume", stopped_run), (*SMALL, "--force", "--out", stopped_run)):
            code, _, error = sobirl(*command)
            assert code == 2
            assert "another process is working on it" in error
        assert "running now" in " ".join(sobirl("show", stopped_run)[1].split())
    assert (stopped_run / "checkpoint.npz").exists()


def test_force_and_folders_that_are_called_newer(tmp_path):
    """What an error message says of a folder must not be confused with its name."""
    precious = tmp_path / "newer" / "newer-data"
    precious.mkdir(parents=True)
    (precious / "thesis.txt").write_text("years of work")
    assert sobirl(*SMALL, "--force", "--out", precious)[0] == 2
    assert (precious / "thesis.txt").exists()


def test_a_kill_between_the_renames_of_force(ended_run, stopped_run):
    """The old run was moved away, the new one had not come: --out finds the old one again."""
    draft = stopped_run.parent / ".stopped-x1y2z3"
    draft.mkdir()
    stopped_run.rename(draft / ".replaced")
    assert "exists; choose another" in sobirl(*SMALL, "--out", stopped_run)[2]
    assert sobirl("resume", stopped_run)[0] == 0
    assert numbers(stopped_run) == numbers(ended_run)
    assert not draft.exists()


def test_a_run_whose_end_cannot_be_evaluated_is_kept(tmp_path, monkeypatch):
    def fail(*args, **options):
        raise sb.ConvergenceError("no solution")

    monkeypatch.setattr("sobirl.experiments.random_mdp.run.summarize_result", fail)
    code, _, error = sobirl(*SMALL, "--out", tmp_path / "run")
    assert code == 2
    assert "no solution" in error
    monkeypatch.undo()
    assert sobirl("resume", tmp_path / "run")[0] == 0


def test_ctrl_c_after_the_end(tmp_path, monkeypatch):
    """Between the summary and the end of the process: the run is complete."""

    def press(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(directory, "clean", press)
    code, _, error = sobirl(*SMALL, "--out", tmp_path / "run")
    assert code == 130
    assert "everything is written: sobirl show" in error
    assert (tmp_path / "run" / "summary.json").exists()


def test_an_unfinished_run_in_the_way(ended_run, stopped_run):
    assert f"go on with it: sobirl resume {stopped_run}" in sobirl(*SMALL, "--out", stopped_run)[2]
    assert "resume" not in sobirl(*SMALL, "--out", ended_run)[2]


def test_force_keeps_the_old_run_until_the_new_one_is_complete(stopped_run, monkeypatch):
    (stopped_run / "treasure").write_text("kept")

    def fail(self, recorder):
        assert not (stopped_run / "treasure").exists()
        raise sb.ConvergenceError("no solution")

    monkeypatch.setattr(RandomMDPRun, "run", fail)
    assert sobirl(*SMALL, "--force", "--out", stopped_run)[0] == 2
    monkeypatch.undo()
    assert (stopped_run / "treasure").read_text() == "kept"
    assert [path.name for path in stopped_run.parent.iterdir()] == ["stopped"]
    assert sobirl(*SMALL, "--force", "--out", stopped_run)[0] == 0
    assert not (stopped_run / "treasure").exists()
    assert not (stopped_run / ".replaced").exists()


class FullDisk:
    """Lets some bytes through, then fails as a full disk does."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            raise OSError(28, "No space left on device")
        return self.file.write(data)


def test_full_disk(tmp_path, monkeypatch, ended_run):
    """The checkpoint before it stays, one line says what to do, and resuming works."""
    atomic_file, writes = checkpoint.atomic_file, []

    def filling(path):
        writes.append(path)
        context = atomic_file(path)
        if len(writes) > 2:
            enter = context.__enter__
            context.__class__ = type(
                "Full", (type(context),), {"__enter__": lambda self: FullDisk(enter(), 100)}
            )
        return context

    monkeypatch.setattr(checkpoint, "atomic_file", filling)
    run = tmp_path / "run"
    code, _, error = sobirl(*SMALL, "--checkpoint-seconds", 0, "--out", run)
    assert code == 2
    assert "No space left on device" in error
    assert "steps are kept, go on with: sobirl resume" in error
    assert error.count("\n") == 1
    monkeypatch.undo()
    assert sobirl("resume", run)[0] == 0
    assert numbers(run) == numbers(ended_run)


def test_unwritable_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # nothing is unwritable for root
    code, _, error = sobirl(*SMALL, "--out", tmp_path / "run")
    assert code == 2
    assert f"cannot write to {tmp_path}" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        FourRoomsRun(),
        FourRoomsRun(temperature=0.003, cost_weight=3.0, starts=2, tensorboard=True, quiet=True),
        RandomMDPRun(method="m-sobirl-occupancy", learning_rate=1e-300, states=7),
        RustBusRun(simulate=True, cost="quadratic", theta=(2.5, -1.25), replacement_cost=9.0),
        TabularRun(lower=(-math.inf, 0.0, 0.0, -1.0), upper=(math.inf,), initial="-Ring & West"),
    ],
)
def test_options_through_arguments_and_back(options):
    config = json.loads(json.dumps(configuration(options)))
    assert decode(type(options), config["options"]) == options
    own = {name: value for name, value in config["options"].items() if name != "out"}
    assert options_from(type(options), to_arguments(type(options), own)) == options
    command = shlex.split(config["command"])[3:]
    assert options_from(type(options), command) == dataclasses.replace(options, quiet=False)


def test_the_command_repeats_the_run(ended_run, tmp_path):
    command = SavedRun.load(ended_run).command.split()
    assert command[0] == "sobirl"
    assert sobirl(*command[1:], "--out", tmp_path / "again")[0] == 0
    assert numbers(tmp_path / "again") == numbers(ended_run)


def test_tensorboard(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    run = tmp_path / "run"
    assert sobirl(*SMALL, "--tensorboard", "--checkpoint-seconds", 0, "--out", run)[0] == 0
    (file,) = (run / "tensorboard").iterdir()
    data, events = file.read_bytes(), []
    while data:
        length = int.from_bytes(data[:8], "little")
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[12 + length + 4 :]
    assert events[0].file_version == "brain.Event:2"
    assert [event.step for event in events[1:]] == list(range(1, 12))
    metrics = SavedRun.load(run).metrics()
    for event, objective in zip(events[1:], metrics["objective"], strict=False):
        values = {value.tag: value.simple_value for value in event.summary.value}
        np.testing.assert_allclose(values["objective"], objective, rtol=1e-6)
        assert set(values) == set(metrics) - {"step"}


def test_python_users_record_runs_too(tmp_path):
    """`minimize` with a checkpoint of its own, stopped by an error in between."""
    instance = TargetPolicy.generate(4, 2, 3, seed=0)

    def run(recorder=None):
        method, optimizer = sb.MSoBiRL(), optax.adam(0.1)
        return sb.minimize(
            instance.problem(), instance.x0, method, optimizer, num_steps=20, recorder=recorder
        )

    class Stumble(checkpoint.Checkpoint):
        def record(self, state, rows, seconds):
            super().record(state, rows, seconds)
            if state.step >= 7:
                raise RuntimeError("power cut")

    path = tmp_path / "run.npz"
    with pytest.raises(RuntimeError, match="power cut"):
        run(Stumble(path, seconds=0))
    assert 7 <= checkpoint.read_checkpoint(path)["state.step"] < 20
    resumed, whole = run(checkpoint.Checkpoint(path)), run()
    np.testing.assert_array_equal(resumed.x, whole.x)
    for name in whole.history:
        np.testing.assert_array_equal(resumed.history[name], whole.history[name])


def test_a_recorder_is_for_one_run_after_another(tmp_path):
    """Its file removed, it begins anew; with other rows in it, it is refused."""
    instance = TargetPolicy.generate(4, 2, 3, seed=0)
    recorder = checkpoint.Checkpoint(tmp_path / "run.npz")
    arguments = (instance.problem(), instance.x0, sb.MSoBiRL(), optax.adam(0.1))
    sb.minimize(*arguments, num_steps=20, recorder=recorder)
    (tmp_path / "run.npz").unlink()
    sb.minimize(*arguments, num_steps=20, recorder=recorder)
    assert checkpoint.read_checkpoint(tmp_path / "run.npz")["state.step"] == 20
    with pytest.raises(sb.InvalidInputError, match=r"recorder: holds another run.*projected"):
        sb.minimize(*arguments, num_steps=30, recorder=recorder, projection=sb.box(0.0))
    with pytest.raises(sb.InvalidInputError, match="there is no folder"):
        sb.minimize(*arguments, recorder=checkpoint.Checkpoint(tmp_path / "nowhere" / "run.npz"))


def test_a_run_without_figures(tmp_path):
    """What it prints names what it wrote."""
    code, printed, _ = sobirl(*SMALL, "--no-figures", "--out", tmp_path / "run")
    assert code == 0
    assert list((tmp_path / "run" / "figures").iterdir()) == []
    assert printed.rstrip().endswith("config.json")
    assert sobirl("report", tmp_path / "run", "--out", tmp_path / "report")[0] == 0
