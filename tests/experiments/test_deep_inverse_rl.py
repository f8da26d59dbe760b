"""`sobirl run deep-inverse-rl`: it runs on its own file, and learns."""

import json
import os
import signal

import numpy as np
import pytest

from runs.conftest import sobirl
from sobirl.experiments.deep_inverse_rl.rounds import Rounds

SMALL = (
    "--steps", 640, "--expert-steps", 300, "--random-steps", 100, "--episode-steps", 20,
    "--num-demonstrations", 3, "--episodes", 4, "--num-envs", 4, "--round-steps", 160,
    "--widths", 8, "--batch", 16, "--updates-per-step", 0.25, "--quiet",
)  # fmt: skip


def run(*arguments):
    """Exit code and standard error."""
    code, _, error = sobirl("run", "deep-inverse-rl", *arguments)
    return code, error


@pytest.mark.slow  # two learners are compiled, twice
def test_a_run_and_one_on_the_file_that_it_wrote(tmp_path, unrendered):
    out = tmp_path / "run"
    assert run(*SMALL, "--out", out) == (0, "")
    metrics = json.loads((out / "summary.json").read_text())["metrics"]
    with np.load(out / "demonstrations.npz") as shown:
        assert shown["observation"].shape == (3, 20, 3)
        assert np.abs(shown["action"]).max() <= 2  # as the environment takes them
        np.testing.assert_allclose(
            shown["reward"].sum(axis=1).mean(), metrics["expert_return"], rtol=1e-5
        )
    again = ("--demonstrations", out / "demonstrations.npz", "--out", tmp_path / "again")
    assert run(*SMALL, *again) == (0, "")
    told = json.loads((tmp_path / "again/summary.json").read_text())["metrics"]
    assert told["expert_return"] == pytest.approx(metrics["expert_return"], rel=1e-5)
    assert told["demonstrated"] == pytest.approx(metrics["demonstrated"], rel=1e-2)


@pytest.mark.slow  # three runs
def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(tmp_path, unrendered, monkeypatch):
    words = (*SMALL, "--checkpoint-seconds", 0, "--out")
    assert run(*words, tmp_path / "whole") == (0, "")
    one_round = Rounds.round

    def stopped(self, state):
        after, row = one_round(self, state)
        if after.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return after, row

    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "round", stopped)
        code, error = run(*words, tmp_path / "run")
    assert code == 130 and "2 steps are kept" in error
    assert sobirl("resume", tmp_path / "run")[0] == 0
    whole, again = (tmp_path / name / "metrics.csv" for name in ("whole", "run"))
    assert whole.read_text() == again.read_text()


def test_a_file_of_another_environment(tmp_path):
    path = tmp_path / "shown.npz"
    np.savez(path, observation=np.zeros((2, 4, 5)), action=np.zeros((2, 4, 1)))
    code, error = run(*SMALL, "--demonstrations", path, "--out", tmp_path / "run")
    assert code == 2 and "must have the shape (3,) of Pendulum-v1" in error


@pytest.mark.slow  # an expert, and a policy that learns as long
def test_a_pendulum_stands_up_as_it_was_shown(tmp_path, unrendered):
    assert run("--steps", 50_000, "--out", tmp_path / "run", "--quiet")[0] == 0
    metrics = json.loads((tmp_path / "run/summary.json").read_text())["metrics"]
    assert metrics["untrained_return"] < -800
    assert metrics["true_return"] > 1.6 * metrics["expert_return"]  # both are negative
