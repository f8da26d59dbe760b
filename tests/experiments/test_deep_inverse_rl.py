"""`sobirl run deep-inverse-rl`: it runs on its own file, and learns."""

import json

import numpy as np
import pytest

from sobirl.apps import cli

SMALL = (
    "--steps", 640, "--expert-steps", 300, "--random-steps", 100, "--episode-steps", 20,
    "--num-demonstrations", 3, "--episodes", 4, "--num-envs", 4, "--round-steps", 160,
    "--widths", 8, "--batch", 16, "--updates-per-step", 0.25, "--quiet",
)  # fmt: skip


def run(*arguments):
    try:
        cli.main(["run", "deep-inverse-rl", *map(str, arguments)])
    except SystemExit as exit_:
        return exit_.code
    return 0


@pytest.mark.slow  # two learners are compiled, twice
def test_a_run_and_one_on_the_file_that_it_wrote(tmp_path, capsys, unrendered):
    out = tmp_path / "run"
    assert run(*SMALL, "--out", out) in (0, None)
    metrics = json.loads((out / "summary.json").read_text())["metrics"]
    with np.load(out / "demonstrations.npz") as shown:
        assert shown["observation"].shape == (3, 20, 3)
        assert np.abs(shown["action"]).max() <= 2  # as the environment takes them
        np.testing.assert_allclose(
            shown["reward"].sum(axis=1).mean(), metrics["expert_return"], rtol=1e-5
        )
    again = ("--demonstrations", out / "demonstrations.npz", "--out", tmp_path / "again")
    assert run(*SMALL, *again) in (0, None)
    told = json.loads((tmp_path / "again/summary.json").read_text())["metrics"]
    assert told["expert_return"] == pytest.approx(metrics["expert_return"], rel=1e-5)
    assert told["demonstrated"] == pytest.approx(metrics["demonstrated"], rel=1e-2)


def test_a_file_of_another_environment(tmp_path, capsys):
    path = tmp_path / "shown.npz"
    np.savez(path, observation=np.zeros((2, 4, 5)), action=np.zeros((2, 4, 1)))
    assert run(*SMALL, "--demonstrations", path, "--out", tmp_path / "run") == 2
    assert "must have the shape (3,) of Pendulum-v1" in capsys.readouterr().err


@pytest.mark.slow  # an expert, and a policy that learns as long
def test_a_pendulum_stands_up_as_it_was_shown(tmp_path, capsys, unrendered):
    assert run("--steps", 50_000, "--out", tmp_path / "run", "--quiet") in (0, None)
    metrics = json.loads((tmp_path / "run/summary.json").read_text())["metrics"]
    assert metrics["untrained_return"] < -800
    assert metrics["true_return"] > 1.6 * metrics["expert_return"]  # both are negative
