"""Runs that survive: real processes, killed at any moment, end where an uninterrupted run ends."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sobirl.bilevel.checkpoint import read_checkpoint

SOBIRL = [sys.executable, "-m", "sobirl.apps.cli"]
RUN = ("run", "random-mdp", "--method", "exact", "--variant", "target-policy", "--quiet")
RUN = (*RUN, "--states", "20", "--dimension", "8", "--checkpoint-seconds", "0")


def sobirl(*args, **options):
    return subprocess.Popen(
        [*SOBIRL, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def wait_until(condition, process, seconds=60.0):
    """Whether a condition came true while the process was alive."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if condition():
            return True
        time.sleep(2e-4)  # less than a draft lasts; the process needs the processor
    return False


def outcome(run: Path):
    """All that must not depend on what happened on the way."""
    summary = json.loads((run / "summary.json").read_text())
    kept = {k: v for k, v in summary.items() if not k.endswith("_seconds")}
    return kept, (run / "metrics.csv").read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    assert sobirl(*RUN, "--num-steps", 1500, "--out", run).wait() == 0
    return run


def kill_and_resume(run: Path, steps: int, kills: int, rng: random.Random) -> int:
    """How many kills it took to the end; every second one hits a checkpoint being written."""
    process = sobirl(*RUN, "--num-steps", steps, "--out", run)
    draft, killed = run / ".checkpoint.npz.draft", 0
    while killed < kills:
        began = wait_until((run / "config.json").exists, process)
        if killed % 2 == 0:
            began = began and wait_until(draft.exists, process)
        else:
            time.sleep(rng.uniform(0, 4))
        process.kill()
        process.communicate()
        if not began or (run / "summary.json").exists():
            break
        killed += 1
        process = sobirl("resume", run)
    process.communicate()
    return killed


def test_killed_runs_end_like_an_uninterrupted_one(tmp_path, uninterrupted):
    assert kill_and_resume(tmp_path / "run", 1500, 1, random.Random(0)) >= 1
    again = sobirl("resume", tmp_path / "run")
    again.communicate()
    assert again.returncode == 0
    assert outcome(tmp_path / "run") == outcome(uninterrupted)
    whole, killed = (
        read_checkpoint(run / "checkpoint.npz") for run in (uninterrupted, tmp_path / "run")
    )
    for name in whole.keys() - {"seconds"}:
        np.testing.assert_array_equal(whole[name], killed[name])


@pytest.mark.slow
def test_killed_many_times(tmp_path):
    """Runs long enough for many kills at random moments."""
    steps, killed = 40_000, 0
    assert sobirl(*RUN, "--num-steps", steps, "--out", tmp_path / "whole").wait() == 0
    for seed in range(4):
        run = tmp_path / str(seed)
        killed += kill_and_resume(run, steps, 12, random.Random(seed))
        assert sobirl("resume", run).wait() == 0
        assert outcome(run) == outcome(tmp_path / "whole")
    print(f"{killed} kills")
    assert killed >= 20


@pytest.mark.parametrize(
    ("kills", "steps"), [(25, 100), pytest.param(100, 400, marks=pytest.mark.slow)]
)
def test_kills_of_the_journal(tmp_path, kills, steps):
    """At random moments of nothing but recording."""
    script = Path(__file__).with_name("journal_process.py")
    for name, number in (("killed", kills), ("whole", 0)):
        (tmp_path / name).mkdir()
        command = [sys.executable, script, tmp_path / name, str(steps), str(number), "1"]
        process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "killed 0" in process.stdout
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    assert (killed / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    arrays, expected = (read_checkpoint(run / "checkpoint.npz") for run in (killed, whole))
    assert arrays.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(arrays[name], expected[name])


@pytest.mark.slow  # a process; `experiments/test_rlhf.py` has one in this process
def test_ctrl_c_says_how_to_go_on(tmp_path):
    run = tmp_path / "run"
    process = sobirl(*RUN, "--num-steps", 3000, "--out", run)
    assert wait_until((run / "checkpoint.npz").exists, process)
    os.kill(process.pid, signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130
    assert error.startswith("sobirl: stopped; ")
    assert error.endswith(f" of 3000 steps are kept, go on with: sobirl resume {run}\n")
    assert error.count("\n") == 1
    steps = int(error.split()[2])
    assert 0 < steps < 3000
    assert read_checkpoint(run / "checkpoint.npz")["state.step"] == steps
