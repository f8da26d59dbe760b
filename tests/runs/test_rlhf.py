"""`sobirl run rlhf`: what it writes, how it is stopped and goes on, and what it refuses."""

import csv
import json
import os
import signal

import numpy as np
import pytest

from runs.conftest import sobirl
from sobirl.runs.arguments import from_arguments
from sobirl.runs.rlhf import RLHFRun
from sobirl.runs.rlhf_rounds import Rounds

SMALL = "run rlhf --quiet --num-envs 4 --round-steps 40 --fragment-length 5 --random-steps 20"
SMALL += " --batch 8 --replay 200 --pairs 12 --steps 120 --epochs 1 --first-epochs 1"
SMALL += " --eval-episodes 2 --eval-steps 9 --eval-every 2 --checkpoint-seconds 0"
ALWAYS = "step objective hypergradient_norm seed eval_return environment_steps episodes true_return"
ALWAYS += " episode_length critic_loss entropy q temperature"
OF_REWARDS = "pairs asked implicit_ratio preference_accuracy"


def small(out, *more):
    return sobirl(*SMALL.split(), *more, "--out", out)


def rows_of(run):
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def summary_of(run):
    return json.loads((run / "summary.json").read_text())


def outcome(run):
    """All that must not depend on what happened on the way."""
    summary = summary_of(run)
    del summary["run_seconds"], summary["metrics"]["steps_per_second"]
    return summary, (run / "metrics.csv").read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two seeds of three rounds each."""
    run = tmp_path_factory.mktemp("rlhf") / "run"
    code, printed, error = small(run, "--seeds", 2, "--seed", 5)
    assert (code, error) == (0, "")
    assert "CartPole-v1, sobirl, 12 pairs, 120 steps" in printed
    return run


def test_what_a_run_leaves(whole):
    summary = summary_of(whole)
    assert (summary["problem"], summary["method"]) == ("rlhf", "sobirl")
    assert (summary["steps"], summary["starts"]) == (6, 2)
    assert summary["resumes_exactly"]
    settings = summary["settings"]  # the options, and what the preset chose
    assert settings["pairs"] == 12 and settings["temperature"] == 0.05
    assert settings["widths"] == [64, 64]
    metrics = summary["metrics"]
    assert metrics["true_return"] == np.mean(metrics["true_returns"]) == 9  # of 9 steps
    assert metrics["best_evaluation"] == 9 and metrics["true_return_error"] == 0
    assert (whole / "figures" / "learning.png").read_bytes()[:4] == b"\x89PNG"


def test_rows(whole):
    rows = rows_of(whole)
    assert set(rows[0]) == {*ALWAYS.split(), *OF_REWARDS.split()}
    assert [row["step"] for row in rows] == list("123456")
    assert [float(row["seed"]) for row in rows] == [5] * 3 + [6] * 3
    # The second round of each seed, and the last.
    evaluated = [np.isfinite(float(row["eval_return"])) for row in rows]
    assert evaluated == [False, True, True] * 2
    for seed in (rows[:3], rows[3:]):
        assert sum(int(row["asked"]) for row in seed) == int(seed[-1]["pairs"]) == 12
        steps = [int(row["environment_steps"]) for row in seed]
        assert 30 < steps[0] < steps[1] < steps[2] <= 120
    first, second = ([row["objective"] for row in seed] for seed in (rows[:3], rows[3:]))
    assert first != second


def test_a_seed_alone_is_what_it_is_among_others(whole, tmp_path):
    assert small(tmp_path / "run", "--seed", 6)[0] == 0
    alone = [{**row, "step": ""} for row in rows_of(tmp_path / "run")]
    assert alone == [{**row, "step": ""} for row in rows_of(whole)[3:]]


@pytest.mark.parametrize("rounds", [2, 3])  # in the midst of a seed, and between two
def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(whole, tmp_path, monkeypatch, rounds):
    run, one_round = tmp_path / "run", Rounds.round

    def stopped(self, state):
        after, row = one_round(self, state)
        if after.step == rounds:
            os.kill(os.getpid(), signal.SIGINT)
        return after, row

    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "round", stopped)
        code, _, error = small(run, "--seeds", 2, "--seed", 5)
    assert code == 130
    assert f"{rounds} steps are kept, go on with: sobirl resume" in error
    assert len(rows_of(run)) == rounds and not (run / "summary.json").exists()
    assert sobirl("show", run)[0] == 0
    assert sobirl("resume", run)[0] == 0
    assert outcome(run) == outcome(whole)


def test_ground_truth_on_the_host():
    """Gymnasium's environments and a follower that has the true reward."""
    more = "--method ground-truth --backend gymnasium --steps 80"
    options = from_arguments(RLHFRun, [*SMALL.split()[2:], *more.split()])
    options.validate()
    outcome = options.run()
    history, summary = outcome.history, outcome.summary
    assert {"step", *history} == set(ALWAYS.split())
    assert np.isnan(history["objective"]).all() and len(history["objective"]) == 2
    assert 60 < history["environment_steps"][-1] <= 80
    assert summary["method"] == "ground-truth" and summary["resumes_exactly"]
    assert summary["metrics"]["true_return"] == 9  # of 9 steps
    (table,) = outcome.report  # no note that episodes would begin anew
    assert "preferences predicted" not in list(table.columns[0].cells)
    assert len(outcome.figures["learning"]().axes) == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--env NoSuchGame-v0", "NoSuchGame-v0"),
        ("--env CartPole-v1 --backend atari", "CartPole-v1"),
        ("--method dpo", "'sobirl', 'drlhf', 'ground-truth'"),
        ("--pairs 0", "--pairs must be at least 1, got 0"),
        ("--steps 0", "--steps must be at least 1, got 0"),
        ("--initial-pairs 99", "--initial-pairs must be at most --pairs, got 99"),
        ("--initial-pairs -1", "--initial-pairs must not be negative, got -1"),
        ("--discount 1", "--discount must be in [0, 1), got 1"),
        ("--temperature 0", "--temperature must be a positive number, got 0"),
        ("--implicit-ratio nan", "--implicit-ratio must be a positive number, got nan"),
        ("--num-envs 0", "--num-envs must be at least 1, got 0"),
        ("--updates-per-step 0.3", "updates_per_step: 0.3 makes 1.2 updates"),
        ("--fragment-length 60 --steps 40", "--fragment-length 60: the 4 environments take 10"),
        ("--teacher-mistake 2", "mistake: must"),
        ("--teacher-temperature -1", "temperature: must be at least 0"),
        ("--label-noise 1", "noise: must be in [0, 1)"),
        ("--selection best", "'uniform', 'disagreement', 'entropy'"),
        ("--checkpoint-seconds -1", "--checkpoint-seconds must not be negative, got -1"),
    ],
)
def test_bad_input(tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    code, printed, error = sobirl(*SMALL.split(), *args.split())
    assert (code, printed) == (2, "")
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
