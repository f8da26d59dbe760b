"""`sobirl run inverse-rl`."""

import json

import numpy as np
import pytest

import sobirl as sb
from runs.conftest import sobirl
from sobirl.problems.inverse_rl import recovery, terrain


def run(*arguments):
    return sobirl("run", "inverse-rl", *arguments, "--quiet")


def test_a_run_and_its_own_demonstrations(tmp_path, unrendered):
    out = tmp_path / "run"
    assert run("--episodes", 100, "--episode-steps", 30, "--out", out)[0] == 0
    summary = json.loads((out / "summary.json").read_text())
    metrics = summary["metrics"]
    assert summary["converged"]
    assert metrics["explained"] > 0.9
    errors = np.array(list(metrics["standard_errors"].values()))
    assert (
        np.abs((np.array(list(metrics["weights"].values())) - [-0.3, -0.9, 1.1]) / errors).max() < 4
    )
    assert (out / "figures/reward.png").exists()
    # What was simulated can be given back as a file.
    sb.save_mdp(terrain().mdp, tmp_path / "map")
    given = ("--mdp", tmp_path / "map", "--demonstrations", out / "demonstrations.csv")
    more = ("--regularization", 0.1, "--tolerance", 0.01, "--out", tmp_path / "again")
    code, printed, _ = run(*given, *more)
    assert code == 0 and "have the same" in printed


def test_bad_demonstrations_write_nothing(tmp_path):
    path = tmp_path / "steps.csv"
    path.write_text("episode,step,state,action\n0,0,3,1\n0,1,99,1\n")
    code, _, error = run("--demonstrations", path, "--out", tmp_path / "run")
    assert code == 2 and "line 3, column state" in error
    assert not (tmp_path / "run").exists()
    code, _, error = run("--mdp", tmp_path, "--out", tmp_path / "run")
    assert code == 2 and "--demonstrations" in error


def test_the_truth_is_recovered_in_full():
    world = terrain()
    truth = sb.solve(world.inhabited())
    found = recovery(world, world.reward, truth)
    assert found.kl == pytest.approx(0, abs=1e-12)
    assert found.explained == pytest.approx(1)


@pytest.mark.slow  # linear systems of 716 states
def test_simulated_clinicians():
    pytest.importorskip("icu_sepsis", exc_type=ImportError)
    from sobirl.problems.icu_sepsis import WEIGHTS, icu_sepsis

    world = icu_sepsis()
    steps = world.simulate(500, 40)
    found = sb.MaximumLikelihoodIRL(world.mdp, world.features).fit(steps)
    assert np.abs((found.x - np.array(WEIGHTS)) / found.standard_errors).max() < 4
