"""`sobirl run rlhf --teacher human`: labels that come while a run goes on, or are waited for."""

import io
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from experiments.test_rlhf import SMALL, rows_of
from runs.conftest import sobirl
from sobirl.experiments.rlhf.people import _marks, _sheet
from sobirl.prefs import PreferenceStore, read_labels

pytestmark = pytest.mark.usefixtures("unrendered")

HUMAN = [*SMALL.split(), "--teacher", "human"]


def judge(path, done, wanted, value=1.0):
    """Label whatever waits in a store, once it is there, until so many labels were given."""
    given = 0
    while given < wanted and not done.is_set():
        if not (path / "store.sqlite").exists():
            time.sleep(0.02)
            continue
        with PreferenceStore(path) as store:
            for ticket in store.unlabelled():
                store.label(ticket, value, "ann")
                given += 1
        time.sleep(0.02)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that waits for all of its labels, which someone gives meanwhile."""
    run, done = tmp_path_factory.mktemp("people") / "run", threading.Event()
    person = threading.Thread(target=judge, args=(run / "labels", done, 12), daemon=True)
    person.start()
    code, _, error = sobirl(*HUMAN, "--wait-for", 12, "--instruction", "Stay up", "--out", run)
    done.set()
    person.join()
    assert (code, error) == (0, "")
    return run


def test_a_run_learns_what_people_say(run):
    assert [row["pairs"] for row in rows_of(run)] == ["2", "8", "12"]
    assert [row["waiting"] for row in rows_of(run)] == ["0", "0", "0"]
    with PreferenceStore(run / "labels") as store:
        assert list(store.first_seen().values()) == [0] * 2 + [1] * 6 + [2] * 4
        assert store.settings() == {"environment": "CartPole-v1", "instruction": "Stay up"}
        about = store.about(3)
        assert about["frames"][0] <= 5 and len(about["marks"]) == 2
        assert all(
            step < n
            for steps, n in zip(about["marks"], about["frames"], strict=True)
            for step in steps
        )
        sheet = Image.open(store.pictures(3))
        assert sheet.size[0] == about["columns"] * about["width"]


def test_a_run_is_shown_and_exported(run, tmp_path):
    code, printed, _ = sobirl("show", run)
    assert code == 0 and "pairs waiting" in printed and "12, the last in round 3" in printed
    assert "mistakes of ann" in printed and "labels/" in printed and ".npz.webp" not in printed
    assert sobirl("export-labels", run, tmp_path / "people.jsonl")[0] == 0
    found = read_labels(tmp_path / "people.jsonl")
    assert [(one.label, one.labeller) for one in found] == [(1.0, "ann")] * 12
    assert all(one.time is not None and one.environment == "CartPole-v1" for one in found)


def test_force_does_not_remove_what_people_said(run):
    code, _, error = sobirl(*HUMAN, "--out", run, "--force")
    assert code == 2 and "holds what people said" in error


@pytest.mark.slow  # a run; the fixture has one that is answered
def test_a_run_goes_on_without_labels(tmp_path):
    """Nothing is learned from nothing, and no number is spoiled by it."""
    assert sobirl(*HUMAN, "--out", tmp_path / "run")[0] == 0
    rows = rows_of(tmp_path / "run")
    assert [(row["pairs"], row["waiting"]) for row in rows] == [("0", "2"), ("0", "8"), ("0", "12")]
    assert all(np.isfinite(float(row["temperature"])) for row in rows)
    assert np.isfinite(float(rows[-1]["entropy"]))


@pytest.mark.slow  # a run in a process of its own
def test_a_killed_run_loses_and_doubles_nothing(tmp_path):
    """Killed while it waits for its second round; resumed, it asks and learns as if it had not."""
    run = tmp_path / "run"
    command = [sys.executable, "-m", "sobirl.apps.cli", *HUMAN, "--wait-for", "12", "--out", run]
    process = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE)
    done = threading.Event()
    judge_thread = threading.Thread(target=judge, args=(run / "labels", done, 2), daemon=True)
    judge_thread.start()
    end = time.monotonic() + 300
    while time.monotonic() < end and not (run / "labels" / "pairs" / "00000007.npz").exists():
        time.sleep(0.1)
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    judge_thread.join()
    person = threading.Thread(target=judge, args=(run / "labels", done, 10, 0.0), daemon=True)
    person.start()
    code, _, error = sobirl("resume", run)
    done.set()
    person.join()
    assert (code, error) == (0, "")
    assert [row["pairs"] for row in rows_of(run)] == ["2", "8", "12"]
    with PreferenceStore(run / "labels") as store:
        assert len(store) == 12
        assert sorted(store.labels().values()) == [0.0] * 10 + [1.0] * 2
        assert store.first_seen().keys() == set(range(12))


def test_ctrl_c_ends_the_waiting_and_keeps_the_labels(tmp_path):
    run = tmp_path / "run"

    def interrupt():
        while not (run / "labels" / "store.sqlite").exists():
            time.sleep(0.05)
        with PreferenceStore(run / "labels") as store:
            while not len(store):
                time.sleep(0.05)
            store.label(0, 1, "ann")
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    code, _, error = sobirl(*HUMAN, "--wait-for", 12, "--out", run)
    thread.join()
    assert code == 130 and "sobirl resume" in error
    with PreferenceStore(run / "labels") as store:
        assert store.labels() == {0: 1.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--teacher human --seeds 2", "--seeds must be 1 with --teacher human"),
        ("--teacher human --method ground-truth", "--method must be another"),
        ("--teacher human --method sobirl --horizon 2", "--horizon must be 0"),
        ("--wait-for 3", "--wait-for goes with --teacher human"),
    ],
)
def test_bad_options(options, message, tmp_path):
    code, _, error = sobirl("run", "rlhf", *options.split(), "--out", tmp_path / "run")
    assert code == 2 and message in error
    assert not (tmp_path / "run").exists()


def test_where_members_disagree_is_marked():
    assert _marks(np.array([0.1, 0.4, 0.2, 0.3, 0.0])) == [1, 2, 3]
    assert _marks(np.zeros(4)) == []


def test_a_sheet_has_every_picture():
    pictures = [np.full((30, 200, 3), 2 * n, np.uint8) for n in range(100)]
    content, about = _sheet(pictures)
    sheet = np.asarray(Image.open(io.BytesIO(content)))
    assert about == {"width": 200, "height": 30, "columns": 81}
    assert sheet.shape == (60, 81 * 200, 3)
    assert sheet[0, 1000, 0] == 10 and sheet[30, 0, 0] == 162 and sheet[45, 18 * 200, 0] == 198
