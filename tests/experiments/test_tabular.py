"""`sobirl run tabular`: a user's files in, the best incentives out."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from runs.conftest import sobirl
from sobirl.experiments.tabular import run as tabular_run
from sobirl.problems.tabular import load, write_folder

pytestmark = pytest.mark.usefixtures("unrendered")

FILES = Path(__file__).parents[2] / "examples" / "tabular"
EXAMPLE = ("--mdp", FILES / "transitions.csv", "--rewards", FILES / "rewards.csv")
QUICK = ("run", "tabular", "--quiet", "--starts", "2", "--num-steps", "150")


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("tabular") / "run"
    args = (*EXAMPLE, "--lower", 0, "--upper", 0.3, "--budget", 0.8)
    code, printed, error = sobirl(*QUICK, *args, "--out", path)
    assert (code, error) == (0, "")
    assert "Episodes end in 'Office'." in printed
    return path


def test_the_answer(run):
    summary = json.loads((run / "summary.json").read_text())
    metrics = summary["metrics"]
    x = np.array(list(metrics["incentives"].values()))
    assert list(metrics["incentives"]) == ["toll_ring", "toll_market", "toll_school", "bus_subsidy"]
    assert (x >= 0).all()
    assert (x <= 0.3).all()
    assert metrics["budget_used"] == np.abs(x).sum() <= 0.8 + 1e-12
    assert summary["converged"]
    assert summary["projected_gradient_norm"] < 1e-6 < summary["hypergradient_norm"]

    problem = load(*EXAMPLE[1::2]).problem()
    np.testing.assert_allclose(metrics["leader_value"], -problem.value(x), rtol=1e-12)
    nothing = -float(problem.value(np.zeros(4)))
    np.testing.assert_allclose(metrics["leader_value_without_incentives"], nothing, rtol=1e-12)
    assert metrics["leader_value"] > nothing
    rng = np.random.default_rng(0)
    for _ in range(30):  # no feasible point nearby is better
        other = np.clip(x + 0.02 * rng.normal(size=4), 0, 0.3)
        other *= min(1, 0.8 / other.sum())
        assert -float(problem.value(other)) <= metrics["leader_value"] + 1e-9


@pytest.mark.slow  # a run with bounds is above
def test_the_default_step_converges_without_bounds(tmp_path):
    command = ("run", "tabular", "--quiet", *EXAMPLE, "--transfer", 1, "--temperature", 1)
    code, printed, error = sobirl(*command, "--out", tmp_path / "run")
    assert (code, error) == (0, "")
    assert "warning" not in printed
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["converged"]


def test_a_run_that_did_not_converge_says_what_to_do(tmp_path):
    code, printed, _ = sobirl(*(*QUICK[:-1], 3), *EXAMPLE, "--out", tmp_path / "run")
    assert code == 0
    assert "warning: Not converged: the gradient's norm, " in printed
    assert "take more steps" in " ".join(printed.split())


def test_the_files(run):
    rows = table(run / "incentives.csv")
    assert [row["incentive"] for row in rows][2] == "toll_school"
    assert float(rows[2]["uses_with"]) < float(rows[2]["uses_without"])
    answers = table(run / "response.csv")
    for column in ("policy_without", "policy_with"):
        total = sum(float(row[column]) for row in answers if row["state"] == "Market & East")
        np.testing.assert_allclose(total, 1.0)
    for figure in ("incentives", "response", "convergence"):
        assert (run / "figures" / f"{figure}.png").stat().st_size > 10_000
    assert "projected_gradient_norm" in (run / "metrics.csv").read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--mdp nowhere.csv", "rewards: nowhere.csv has the transitions only; give a second CSV"),
        ("--mdp nowhere.csv --rewards r.csv", "nowhere.csv: there is no such file"),
        ("--mdp nowhere.npz", "nowhere.npz: there is no such file"),
        ("--mdp nowhere.npz --rewards r.csv", "rewards: does not go with nowhere.npz"),
        ("--rewards r.csv", "--rewards needs --mdp beside it, got r.csv"),
        ("--discount 1", "discount: must lie in [0, 1), got 1.0"),
        ("--temperature 0", "temperature: must be a positive number, got 0"),
        ("--temperature nan", "temperature: must be a positive number, got nan"),
        ("--leader-discount 2", "leader_discount: must lie in [0, 1), got 2.0"),
        ("--transfer inf", "transfer: must be a finite number, got inf"),
        ("--initial Offce", "initial: there is no state 'Offce' (did you mean 'Office'?)"),
        ("--initial Office", "initial: 'Office' is terminal; nothing happens there"),
        ("--lower 1 --upper 0", "lower: must not be above upper, got 1.0"),
        ("--lower 0 0", "--lower must be one number or 4, one an entry of x, got 0.0 0.0"),
        ("--lower nan", "lower: must not be NaN"),
        ("--budget 0", "--budget should be greater than 0, got 0"),
        ("--budget 1 --lower 1", "the bounds alone need 4, got 1"),
        ("--starts 0", "--starts should be greater than or equal to 1, got 0"),
        ("--num-steps 0", "--num-steps should be greater than or equal to 1, got 0"),
        ("--learning-rate -1", "--learning-rate should be greater than 0, got -1"),
        ("--checkpoint-seconds -1", "--checkpoint-seconds should be greater than or equal"),
    ],
)
def test_bad_input(tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    code, printed, error = sobirl("run", "tabular", *args.split())
    assert (code, printed) == (2, "")
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow  # the folder itself is read in problems/test_tabular_folders
def test_a_folder_gives_the_same_answer(tmp_path):
    write_folder(load(*EXAMPLE[1::2]), tmp_path / "problem")
    answers = []
    for name, files in (("files", EXAMPLE), ("folder", ("--mdp", tmp_path / "problem"))):
        steps = ("--starts", "1", "--num-steps", "5", "--upper", 0.3)
        code, _, error = sobirl(
            "run", "tabular", "--quiet", *steps, *files, "--out", tmp_path / name
        )
        assert (code, error) == (0, "")
        answers.append(json.loads((tmp_path / name / "summary.json").read_text())["metrics"])
    assert answers[0] == answers[1]


def test_a_folder_that_is_cut_short_is_one_line(tmp_path):
    write_folder(load(*EXAMPLE[1::2]), tmp_path / "problem")
    file = tmp_path / "problem" / "reward.npy"
    file.write_bytes(file.read_bytes()[:-1])
    command = ("run", "tabular", "--mdp", tmp_path / "problem", "--out", tmp_path / "run")
    code, _, error = sobirl(*command)
    assert code == 2
    assert "reward.npy: is cut short" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_table_of_responses_keeps_the_most_visited_pairs(monkeypatch):
    monkeypatch.setattr(tabular_run, "_MOST_ROWS", 3)
    active = np.array([[True, True], [False, True], [True, True]])
    visits = np.array([[0.1, 5.0], [9.0, 2.0], [0.2, 3.0]])
    pairs = tabular_run._most_visited(active, visits)
    np.testing.assert_array_equal(pairs, [[0, 1], [1, 1], [2, 1]])
