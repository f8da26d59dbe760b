"""`sobirl run building-thermal`: what a run writes."""

import json

import pytest

from runs.conftest import sobirl


@pytest.mark.usefixtures("unrendered")
@pytest.mark.parametrize(
    "method",
    [
        "exact",
        pytest.param("sampled", marks=pytest.mark.slow),
        pytest.param("scores", marks=pytest.mark.slow),
    ],
)
def test_the_answer(tmp_path, method):
    command = ("run", "building-thermal", "--method", method, "--num-steps", 25, "--walkers", 100)
    command += ("--quiet", "--out", tmp_path / "run")
    code, printed, error = sobirl(*command)
    assert (code, error) == (0, "")
    assert "published: BC-HG" in printed
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    metrics = summary["metrics"]
    assert metrics["leader_return_at_first"] == pytest.approx(-261.96, abs=0.005)
    assert metrics["leader_return"] == pytest.approx(-summary["objective"], rel=1e-9)
    assert (metrics["leader_return"] > -200) == (method != "scores")
    assert metrics["leader_return_simulated_error"] > 0
    assert metrics["published"]["BC-HG"] == -196.8
    assert len((tmp_path / "run" / "building.csv").read_text().splitlines()) == 5
    assert {path.stem for path in (tmp_path / "run" / "figures").iterdir()} == {
        "building",
        "convergence",
    }


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--temperature", 0), "--temperature should be greater than 0, got 0"),
        (
            ("--environment-steps", 300),
            "--environment-steps should be greater than or equal to 400",
        ),
        (("--method", "hpgd"), 'Invalid value "hpgd" for --method'),
    ],
)
def test_bad_options_are_refused(option, message):
    code, _, error = sobirl("run", "building-thermal", *option)
    assert code == 2
    assert message in error
