"""`sobirl run reward-shaping`: what a run writes."""

import json

import pytest

from runs.conftest import sobirl


@pytest.mark.usefixtures("unrendered")
def test_the_answer(tmp_path):
    command = ("run", "reward-shaping", "--num-steps", 10, "--quiet", "--out", tmp_path / "run")
    code, _, error = sobirl(*command)
    assert (code, error) == (0, "")
    metrics = json.loads((tmp_path / "run" / "summary.json").read_text())["metrics"]
    without, with_hints, best = (metrics[name] for name in list(metrics)[:3])
    assert without < 0.3 < 0.5 < with_hints < best < 1
    assert len((tmp_path / "run" / "hints.csv").read_text().splitlines()) == 105
    assert {path.stem for path in (tmp_path / "run" / "figures").iterdir()} == {
        "convergence",
        "paths",
    }


def test_bad_options_are_refused():
    code, _, error = sobirl("run", "reward-shaping", "--discount", 1)
    assert code == 2
    assert "--discount should be less than 1, got 1" in error
