"""`sobirl run preferences`: its objectives, what it tells, what it refuses."""

import json

import numpy as np
import pytest

from runs.conftest import sobirl

SMALL = ("run", "preferences", "--states", 3, "--actions", 2, "--length", 2, "--dimension", 2)
QUICK = (*SMALL, "--quiet", "--no-figures", "--method", "exact", "--num-steps")


def metrics(path):
    return json.loads((path / "summary.json").read_text())["metrics"]


@pytest.mark.slow  # two runs
def test_the_policy_of_an_earlier_run_is_a_reference(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert sobirl(*QUICK, 40, "--win-weight", 0, "--objective", "win-rate", "--out", first)[0] == 0
    wins = (*QUICK, 40, "--objective", "win-rate")
    code, printed, _ = sobirl(*wins, "--reference", first / "x.npz", "--out", second)
    assert code == 0
    assert "win rate" in " ".join(printed.split())
    plain, after = metrics(first), metrics(second)
    # The first x is 0, whose follower is uniform and wins half the time against a uniform one.
    np.testing.assert_allclose(after["win_rate_at_first"], 0.5, atol=0.01)
    np.testing.assert_allclose(plain["objective"], plain["cross_entropy"], rtol=1e-12)
    assert after["win_rate"] > plain["win_rate"] > 0.5
    assert after["true_return"] > plain["true_return"] > after["true_return_at_first"]
    # Against a better reference the same policy loses more often.
    defeats = after["objective_at_first"] - after["cross_entropy_at_first"]
    assert defeats > 1 - after["win_rate_at_first"] + 0.001


def test_given_pairs_stay(tmp_path):
    """What is minimized is the loss on six pairs; on fresh ones the reward is worse."""
    run = (*QUICK, 40, "--pairs", 6, "--objective", "kl", "--scale", 2, "--temperature", 1)
    assert sobirl(*run, "--realizable", "--out", tmp_path / "run")[0] == 0
    options = json.loads((tmp_path / "run" / "config.json").read_text())["options"]
    assert (options["pairs"], options["realizable"], options["scale"]) == (6, True, 2)
    after = metrics(tmp_path / "run")
    assert after["objective"] < after["objective_at_first"]
    assert after["cross_entropy"] > after["divergence"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--win-weight", 1), "--win-weight goes with --objective win-rate only, got 1.0"),
        (("--reference", "x.npz"), "--reference goes with --objective win-rate only, got x.npz"),
        (("--objective", "winrate"), "--objective"),
        (("--objective", "win-rate", "--win-weight", -1), "--win-weight"),
        (("--objective", "win-rate", "--reference", "none.npz"), "none.npz: there is no x"),
        (("--scale", 0), "--scale"),
        (("--pairs", 0), "--pairs"),
    ],
)
def test_bad_options(tmp_path, options, message):
    code, _, error = sobirl(*QUICK, 1, *options, "--out", tmp_path / "run")
    assert code == 2
    assert message in " ".join(error.split())
    assert not (tmp_path / "run").exists()


def test_a_reference_of_another_size(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    options = ("--objective", "win-rate", "--reference", tmp_path / "x.npz")
    code, _, error = sobirl(*QUICK, 1, *options, "--out", tmp_path / "run")
    assert code == 2
    assert "must be the x of a run with this --dimension, of shape (2,), got (3,)" in " ".join(
        error.split()
    )
