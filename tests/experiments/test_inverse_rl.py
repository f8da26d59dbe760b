"""`sobirl run inverse-rl`."""

import json

import numpy as np
import pytest

import sobirl as sb
from sobirl.apps import cli
from sobirl.problems.inverse_rl import recovery, terrain


def run(*arguments):
    try:
        cli.main(["run", "inverse-rl", *map(str, arguments), "--quiet"])
    except SystemExit as exit_:
        return exit_.code
    return 0


def test_a_run_and_its_own_demonstrations(tmp_path, capsys, unrendered):
    out = tmp_path / "run"
    assert run("--episodes", 100, "--episode-steps", 30, "--out", out) in (0, None)
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
    assert run(
        *given, "--regularization", 0.1, "--tolerance", 0.01, "--out", tmp_path / "again"
    ) in (0, None)
    assert "have the same" in capsys.readouterr().out


def test_bad_demonstrations_write_nothing(tmp_path, capsys):
    path = tmp_path / "steps.csv"
    path.write_text("episode,step,state,action\n0,0,3,1\n0,1,99,1\n")
    assert run("--demonstrations", path, "--out", tmp_path / "run") == 2
    assert "line 3, column state" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert run("--mdp", tmp_path, "--out", tmp_path / "run") == 2
    assert "--demonstrations" in capsys.readouterr().err


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
