"""`sobirl run tax-design`: what a run writes."""

import csv
import json

import pytest

from runs.conftest import sobirl


@pytest.mark.usefixtures("unrendered")
def test_the_answer(tmp_path):
    command = ("run", "tax-design", "--points", 11, "--num-steps", 3, "--walkers", 50, "--quiet")
    code, printed, error = sobirl(*command, "--out", tmp_path / "run")
    assert (code, error) == (0, "")
    assert "the published code takes 520 s" in " ".join(printed.split())
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    metrics = summary["metrics"]
    assert metrics["welfare"] > metrics["welfare_at_first"]
    assert metrics["welfare"] == pytest.approx(-summary["objective"], rel=1e-6)
    assert metrics["welfare_by_points"].keys() == {"6", "11"}
    assert metrics["welfare_simulated_error"] > 0
    with (tmp_path / "run" / "taxes.csv").open() as file:
        rates = {row["tax"]: float(row["rate"]) for row in csv.DictReader(file)}
    assert rates == metrics["taxes"]
    assert set(rates) == {"income", "good 1", "good 2", "good 3"}
    assert {path.stem for path in (tmp_path / "run" / "figures").iterdir()} == {
        "convergence",
        "households",
    }


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--points", 2), "--points should be greater than or equal to 3, got 2"),
        (("--temperature", 0), "--temperature should be greater than 0, got 0"),
        (("--method", "sobirl"), 'Invalid value "sobirl" for --method'),
        (("--walkers", 0), "--walkers should be greater than or equal to 1, got 0"),
    ],
)
def test_bad_options_are_refused(option, message):
    code, _, error = sobirl("run", "tax-design", *option)
    assert code == 2
    assert message in error
