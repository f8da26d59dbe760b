"""The command line as people meet it: real processes for the main path, bad input in a table."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from instances import INSTANCE
from sobirl.apps import cli
from sobirl.experiments.random_mdp import RandomMDPRun
from sobirl.experiments.registry import EXPERIMENTS
from sobirl.experiments.rust_bus import RustBusRun
from sobirl.problems import rust_bus
from sobirl.runs import directory

pytestmark = pytest.mark.usefixtures("unrendered")

FOUR_ROOMS = ["run", "four-rooms", "--starts", "2", "--num-steps", "4", "--quiet"]
FAST = ["run", "random-mdp", "--states", "4", "--dimension", "3", "--num-steps", "4", "--quiet"]


def run(capsys, *args):
    """Exit code, standard output and standard error of a command in this process."""
    code = 0
    try:
        cli.main([str(arg) for arg in args])
    except SystemExit as exit_:
        code = exit_.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_four_rooms_writes_a_run(capsys, tmp_path):
    out = tmp_path / "deep" / "fr"
    code, printed, _ = run(capsys, *FOUR_ROOMS, "--out", str(out))
    assert code == 0
    assert "HPGD (published)" in printed
    summary = json.loads((out / "summary.json").read_text())
    wanted = "problem method objective metrics hypergradient_norm steps starts compile_seconds"
    assert set(summary) >= {*wanted.split(), "run_seconds", "converged"}
    assert summary["problem"] == "four-rooms"
    assert set(summary["metrics"]) >= {
        "leader_value",
        "leader_value_mean",
        "leader_value_worst",
    }
    assert summary["metrics"]["leader_value"] == -summary["objective"]
    with (out / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert {"objective", "hypergradient_norm", "temperature_factor"} <= set(rows[0])
    config = json.loads((out / "config.json").read_text())
    assert config["options"]["starts"] == 2
    assert {"python", "jax", "sobirl"} <= set(config["versions"])
    for figure in ("map", "starts"):
        assert (out / "figures" / f"{figure}.png").read_bytes()[:4] == b"\x89PNG"
    with (out / "incentives.csv").open() as file:
        penalties = [float(row["penalty"]) for row in csv.DictReader(file)]
    assert len(penalties) == 104
    assert 0 < sum(penalties) <= 0.2
    assert [path.name for path in out.parent.iterdir()] == ["fr"]  # no drafts left behind


def test_same_seed_same_run(capsys, tmp_path):
    texts = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run(capsys, *FAST, "--seed", seed, "--out", tmp_path / name)[0] == 0
        texts.append((tmp_path / name / "metrics.csv").read_text())
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("method", ["exact", "m-sobirl-occupancy", "m-sobirl-normalized"])
def test_random_mdp_methods(capsys, tmp_path, method):
    out = tmp_path / method
    args = ("--method", method, "--num-steps", "20", "--states", "6", "--dimension", "5")
    code, _, _ = run(capsys, "run", "random-mdp", *args, "--quiet", "--out", out)
    assert code == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["method"] == method
    assert summary["steps"] == 20


def test_random_mdp_instance_rows(capsys, tmp_path):
    """Row k holds the norm at x_k and the objective after the step, as in the authors' logs."""
    out = tmp_path / "rm"
    args = ("--instance", INSTANCE, "--method", "m-sobirl", "--num-steps", "50")
    code, printed, _ = run(capsys, "run", "random-mdp", *args, "--quiet", "--out", out)
    assert code == 0
    assert "authors' code" in printed
    with (out / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    with np.load(INSTANCE) as instance:
        norms, objectives = instance["hypergrad_norm"][:50], instance["objective"][:50]
    np.testing.assert_allclose([float(r["hypergradient_norm"]) for r in rows], norms, rtol=1e-9)
    np.testing.assert_allclose([float(r["objective"]) for r in rows], objectives, rtol=1e-9)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["metrics"]["reference_difference"] < 1e-9


@pytest.mark.slow  # two programs to compile
@pytest.mark.parametrize(
    ("method", "goals"),
    [("plug-in", "1"), ("sobirl", "2")],
)
def test_four_rooms_by_a_method_that_samples(capsys, tmp_path, method, goals):
    options = ["--method", method, "--goals", goals, "--environment-steps", "50"]
    out = tmp_path / "run"
    code, printed, _ = run(capsys, *FOUR_ROOMS, *options, "--cost-weight", "5", "--out", str(out))
    assert code == 0
    assert method in printed
    summary = json.loads((out / "summary.json").read_text())
    assert summary["method"] == method
    assert ("BC-HG" in summary["metrics"]["published"]) == (goals == "1")
    with (out / "metrics.csv").open() as file:
        steps = [float(row["environment_steps"]) for row in csv.DictReader(file)]
    assert all(40 < count <= 50 for count in steps)


def test_list_names_every_problem(capsys):
    code, printed, _ = run(capsys, "list")
    assert code == 0
    assert all(name in printed for name in EXPERIMENTS)


@pytest.mark.parametrize("args", [["--help"], ["run", "--help"], ["run", "four-rooms", "--help"]])
def test_help(capsys, args):
    code, printed, _ = run(capsys, *args)
    assert code == 0
    assert "Usage: sobirl" in printed


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("frobnicate", "Available commands: run, resume, show, report"),
        ("run no-such-problem", "Available commands: " + ", ".join(EXPERIMENTS)[:40]),
        ("run four-rooms --no-such-option 3", "Unknown option: --no-such-option"),
        ("run four-rooms --temp 3", "Did you mean --temperature?"),
        ("run four-rooms --temperature warm", 'for --temperature: unable to convert "warm"'),
        ("run four-rooms --temperature 0", "--temperature should be greater than 0, got 0"),
        ("run four-rooms --temperature -1", "--temperature should be greater than 0, got -1"),
        ("run four-rooms --temperature nan", "--temperature should be less than inf, got nan"),
        ("run four-rooms --temperature inf", "--temperature should be less than inf, got inf"),
        ("run four-rooms --cost-weight nan", "--cost-weight should be less than inf, got nan"),
        ("run four-rooms --starts 0", "--starts should be greater than or equal to 1, got 0"),
        ("run four-rooms --starts 2.5", '--starts: unable to convert "2.5" into int'),
        ("run four-rooms --num-steps 0", "--num-steps should be greater than or equal to 1, got 0"),
        ("run four-rooms --seed x", "--seed"),
        ("run four-rooms --environment-steps 3", "--environment-steps should be 2 a goal or more"),
        ("run four-rooms --goals 3", "--goals"),
        ("run four-rooms --method hpg", "--method"),
        ("run maze --size 3", "--size should be greater than or equal to 4, got 3"),
        ("run maze --budget -1", "--budget should be greater than 0, got -1"),
        ("run maze --walls 1", "--walls should be less than 1, got 1"),
        ("run maze --walls 0.7", "--walls: a share of 0.7 leaves no way from the left"),
        ("run maze --size 10", "--blocks: must lie in 1..10, the size; got 20"),
        ("run random-mdp --method newton", '"exact", "m-sobirl", "m-sobirl-occupancy"'),
        ("run random-mdp --states 1", "--states should be greater than or equal to 2, got 1"),
        ("run random-mdp --learning-rate 0", "--learning-rate should be greater than 0, got 0"),
        ("run random-mdp --instance nowhere.npz", "nowhere.npz: there is no such file"),
        ("run random-mdp --instance .", "not a readable .npz"),
        ("run rust-bus --data x.csv --simulate", "--data does not go with --simulate, got x.csv"),
        (
            "run rust-bus --simulate --seed -1",
            "--seed should be greater than or equal to 0, got -1",
        ),
        ("run four-rooms --seed 99999999999999999999", "--seed should be less than 4294967296"),
        ("run random-mdp --num-steps 1000000000000", "--num-steps should be less than 2147483648"),
        ("run random-mdp --instance nowhere.npz --states 7", "--states does not go with"),
        ("run rust-bus --data nowhere.csv", "nowhere.csv"),
        ("run rust-bus --simulate --cost cosine", '"linear", "sqrt"'),
    ],
)
def test_bad_input(capsys, tmp_path, monkeypatch, args, message):
    """One line, exit code 2, nothing written."""
    monkeypatch.chdir(tmp_path)
    code, printed, error = run(capsys, *args.split())
    assert code == 2
    assert printed == ""
    assert error.startswith("sobirl: error: ")
    assert error.count("\n") == 1
    assert message in error
    assert list(tmp_path.iterdir()) == []


def test_existing_runs_are_kept_without_force(capsys, tmp_path):
    out = tmp_path / "run"
    assert run(capsys, *FAST, "--out", out)[0] == 0
    before = (out / "summary.json").read_text()
    code, _, error = run(capsys, *FAST, "--seed", 5, "--out", out)
    assert code == 2
    assert "exists; choose another or add --force" in error
    assert (out / "summary.json").read_text() == before
    assert run(capsys, *FAST, "--seed", 5, "--force", "--out", out)[0] == 0
    assert (out / "summary.json").read_text() != before


def test_force_never_removes_anything_but_a_run(capsys, tmp_path):
    precious = tmp_path / "thesis" / "chapter.tex"
    precious.parent.mkdir()
    precious.write_text("years of work")
    for out in (precious.parent, precious):
        code, _, error = run(capsys, *FAST, "--force", "--out", out)
        assert code == 2
        assert "is not a run directory of sobirl" in error
    assert precious.read_text() == "years of work"


def test_force_keeps_the_inputs_of_the_run(capsys, tmp_path):
    out, data = tmp_path / "sim", tmp_path / "sim" / "data.csv"
    with directory.RunDirectory.create(RustBusRun(simulate=True, out=out)):
        pass
    data.write_bytes((Path(rust_bus.__file__).parent / "data" / "rust1987_group4.csv").read_bytes())
    code, _, error = run(capsys, "run", "rust-bus", "--data", data, "--out", out, "--force")
    assert code == 2
    assert "holds an input of this run" in error
    assert data.exists()


def test_inputs_are_recorded(tmp_path):
    with directory.RunDirectory.create(RandomMDPRun(instance=INSTANCE, out=tmp_path / "run")):
        config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["inputs"]["instance"]["path"] == str(INSTANCE)
    assert len(config["inputs"]["instance"]["sha256"]) == 64
    assert config["command"] == f"sobirl run random-mdp --instance {INSTANCE}"


def test_force_through_a_link(capsys, tmp_path):
    assert run(capsys, *FAST, "--out", tmp_path / "real")[0] == 0
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert run(capsys, *FAST, "--force", "--seed", 3, "--out", tmp_path / "link")[0] == 0
    config = json.loads((tmp_path / "real" / "config.json").read_text())
    assert config["options"]["seed"] == 3


def test_out_below_a_file(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, error = run(capsys, *FAST, "--out", tmp_path / "file" / "run")
    assert code == 2
    assert "cannot write" in error


def test_default_directory_is_the_first_free_number(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run(capsys, *FAST)[0] == 0
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["random-mdp-1", "random-mdp-2"]
