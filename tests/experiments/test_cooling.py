"""`sobirl run goal-position` and `stackelberg`: what runs write, and that cooling is what helps."""

import csv
import json

import pytest

from runs.conftest import sobirl

GOAL = ("run", "goal-position", "--size", 6, "--quiet")
GAME = ("run", "stackelberg", "--quiet")


def metrics_of(path):
    return json.loads((path / "summary.json").read_text())["metrics"]


@pytest.mark.usefixtures("unrendered")
def test_a_goal(tmp_path):
    code, printed, error = sobirl(*GOAL, "--num-steps", 20, "--out", tmp_path / "run")
    assert (code, error) == (0, "") and "best of 441" in printed
    metrics = metrics_of(tmp_path / "run")
    assert metrics["leader_value_at_first"] < metrics["leader_value"]
    assert metrics["leader_value"] <= metrics["best_leader_value"] + 1e-6
    figures = {path.stem for path in (tmp_path / "run" / "figures").iterdir()}
    assert figures == {"landscape", "convergence"}


@pytest.mark.usefixtures("unrendered")
def test_a_commitment(tmp_path):
    code, printed, error = sobirl(*GAME, "--num-steps", 60, "--out", tmp_path / "run")
    assert (code, error) == (0, "") and "best (published)" in printed
    metrics = metrics_of(tmp_path / "run")
    assert metrics["leader_payoff_at_first"] < 3.46 < 3.47 < metrics["leader_payoff"] < 3.5
    assert metrics["published_optimum"] == 3.5 and metrics["without_commitment"] == 2
    with (tmp_path / "run" / "commitment.csv").open() as file:
        shares = {row["action"]: float(row["share"]) for row in csv.DictReader(file)}
    assert shares == metrics["commitment"] and sum(shares.values()) == pytest.approx(1)


@pytest.mark.slow  # two runs with whole landscapes
def test_cooling_finds_what_a_cold_walker_does_not(tmp_path):
    for name, first in (("cooled", 0.1), ("cold", 0.001)):
        words = ("run", "goal-position", "--quiet", "--no-figures", "--first-temperature", first)
        assert sobirl(*words, "--out", tmp_path / name)[0] == 0
    cooled, cold = (metrics_of(tmp_path / name) for name in ("cooled", "cold"))
    assert cooled["leader_value"] > 0.99 * cooled["best_leader_value"]
    assert cold["leader_value"] < 0.6 * cooled["leader_value"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*GOAL[:2], "--size", 3), "--size should be greater than or equal to 6, got 3"),
        ((*GAME, "--game", "chess"), 'Invalid value "chess" for --game'),
        (
            (*GAME, "--first-temperature", 0.0001),
            "--first-temperature should not be below --temperature 0.001, got 0.0001",
        ),
    ],
)
def test_bad_options_are_refused(words, message):
    code, _, error = sobirl(*words)
    assert code == 2 and message in error
