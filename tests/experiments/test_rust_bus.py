"""`sobirl run rust-bus` as a run: options, outcome, report and files."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import sobirl as sb
from sobirl.experiments.rust_bus import RustBusRun
from sobirl.problems import rust_bus
from sobirl.runs.directory import RunDirectory

DATA = Path(rust_bus.__file__).parent / "data" / "rust1987_group4.csv"


def outcome_of(**options):
    run = RustBusRun(**options)
    run.validate()
    return run.run()


def printed(outcome):
    console = Console(width=140)
    with console.capture() as capture:
        for part in outcome.report:
            console.print(part)
    return capture.get()


def test_published_estimate(tmp_path):
    run = RustBusRun(data=DATA)
    run.validate()
    outcome = run.run()
    summary, metrics = outcome.summary, outcome.summary["metrics"]
    assert summary["problem"] == "rust-bus"
    assert summary["method"] == "newton"
    assert summary["converged"]
    assert summary["hypergradient_norm"] < 1e-6
    assert summary["observations"] == 4292
    assert summary["starts"] == len(summary["start_objectives"]) == 4
    np.testing.assert_allclose(
        summary["transition_probabilities"], np.array([1682, 2555, 55]) / 4292
    )
    np.testing.assert_allclose(metrics["replacement_cost"], 10.07494, atol=2e-4)
    np.testing.assert_allclose(metrics["theta"], [2.29309], atol=2e-4)
    np.testing.assert_allclose(metrics["neg_log_likelihood"], 163.58428, atol=1e-4)
    np.testing.assert_allclose(metrics["standard_errors"], [1.35126, 0.55384], atol=1e-4)
    assert set(outcome.history) == {"objective", "hypergradient_norm"}
    assert len(outcome.history["objective"]) == summary["steps"]
    text = printed(outcome)
    assert "10.0750" in text
    assert "2.2930" in text
    assert "163.584" in text
    assert "warning" not in text
    assert not outcome.files

    with RunDirectory.create(dataclasses.replace(run, out=tmp_path / "run")) as directory:
        directory.finish(outcome)
    written = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert written["metrics"]["theta"] == metrics["theta"]
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 1 + summary["steps"]
    for name in ("likelihood", "replacement"):
        png = (tmp_path / "run" / "figures" / f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        assert len(png) > 20_000


def test_published_values_are_shown_for_their_own_data_only(tmp_path):
    assert "published" not in printed(outcome_of(data=DATA, cost="sqrt"))
    assert "published" not in printed(outcome_of(data=DATA, discount=0.99))
    lines = DATA.read_text().splitlines()
    shorter = tmp_path / "shorter.csv"
    shorter.write_text("\n".join(line for line in lines if not line.startswith("5297,")))
    outcome = outcome_of(data=shorter)
    assert "published" not in printed(outcome)
    assert outcome.summary["observations"] == 4292 - 116


@pytest.mark.slow  # `problems/test_rust_bus.py` recovers parameters
def test_simulation(tmp_path):
    options = {"simulate": True, "cost": "quadratic", "buses": 200, "seed": 4}
    run = RustBusRun(**options)
    run.validate()
    outcome = run.run()
    metrics = outcome.summary["metrics"]
    true_cost, true_theta = rust_bus.GROUP4_ESTIMATES["quadratic"]
    assert metrics["true_replacement_cost"] == true_cost
    assert metrics["true_theta"] == list(true_theta)
    found = np.array([metrics["replacement_cost"], *metrics["theta"]])
    z = (found - [true_cost, *true_theta]) / metrics["standard_errors"]
    np.testing.assert_allclose(metrics["z_scores"], z)
    assert np.abs(z).max() < 4
    assert "z-score" in printed(outcome)

    with RunDirectory.create(dataclasses.replace(run, out=tmp_path / "run")) as directory:
        directory.finish(dataclasses.replace(outcome, figures={}))
    again = outcome_of(data=tmp_path / "run" / "data.csv", cost="quadratic", seed=4)
    assert again.summary["metrics"]["neg_log_likelihood"] == metrics["neg_log_likelihood"]

    same = outcome_of(**options)
    assert same.files == outcome.files
    assert same.summary["metrics"] == metrics


def test_own_true_parameters():
    outcome = outcome_of(
        simulate=True, replacement_cost=6.0, theta=(5.0,), buses=100, periods=60, seed=1
    )
    assert outcome.summary["metrics"]["true_theta"] == [5.0]
    assert outcome.summary["observations"] == 100 * 59


def test_parameters_that_are_not_identified_are_reported(tmp_path):
    rows = ["Bus_ID,period,state,usage,decision"]
    rows += [f"{bus},{t},0,0,{int(bus == t)}" for bus in range(1, 4) for t in range(1, 6)]
    path = tmp_path / "still.csv"
    path.write_text("\n".join(rows))  # buses that never leave state 0, where the cost is 0
    run = RustBusRun(data=path)
    run.validate()
    outcome = run.run()
    text = printed(outcome)
    assert "warning" in text
    assert "no standard errors" in text
    with RunDirectory.create(dataclasses.replace(run, out=tmp_path / "run")) as directory:
        directory.finish(outcome)
    written = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert written["metrics"]["standard_errors"] == [None, None]


def test_separated_decisions_are_reported(tmp_path):
    panel = rust_bus.simulate(replacement_cost=1e6, theta=[1e9], buses=20, periods=30)
    path = tmp_path / "separated.csv"
    path.write_text(rust_bus.to_csv(panel))
    assert "no maximum" in printed(outcome_of(data=path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": DATA, "simulate": True}, "--data does not go with --simulate"),
        ({"data": Path("missing.csv")}, "missing.csv: there is no such file"),
        ({"data": Path(__file__)}, "test_rust_bus.py, line 1: there is no column Bus_ID"),
        ({"data": DATA, "buses": 10}, "--buses goes with --simulate"),
        ({"data": DATA, "theta": (1.0,)}, "--theta goes with --simulate"),
        ({"simulate": True, "buses": 0}, "--buses should be greater than or equal to 1, got 0"),
        ({"simulate": True, "periods": 1}, "--periods should be greater than or equal to 2, got 1"),
        ({"simulate": True, "discount": 1.0}, r"--discount should be less than 1, got 1.0"),
        ({"simulate": True, "discount": float("nan")}, "--discount should be less than 1, got nan"),
        ({"simulate": True, "tolerance": 0.0}, "--tolerance should be greater than 0"),
        ({"simulate": True, "theta": (1.0, 2.0)}, "--theta needs 1 number for the linear cost"),
        ({"simulate": True, "theta": (float("inf"),)}, "--theta should be less than inf"),
        (
            {"simulate": True, "replacement_cost": float("nan")},
            "cost should be less than inf",
        ),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(sb.InvalidInputError, match=message):
        RustBusRun(**options).validate()


def test_panel_without_a_replacement():
    run = RustBusRun(simulate=True, buses=2, periods=3)
    run.validate()
    with pytest.raises(sb.InvalidInputError, match="the simulated panel: no replacement"):
        run.run()
