"""`sobirl.record`: a user's own problem gets a run directory."""

import json
import subprocess
import sys

import numpy as np
import optax
import pytest

import sobirl as sb
from runs.conftest import sobirl
from sobirl.problems.random_mdp import TargetPolicy
from sobirl.runs.record import described

pytestmark = pytest.mark.usefixtures("unrendered")

INSTANCE = TargetPolicy.generate(4, 2, 3, seed=0)

SCRIPT = """
import os, signal, sys
import jax; jax.config.update("jax_enable_x64", True)
import sobirl as sb
from sobirl.problems.random_mdp import TargetPolicy

instance = TargetPolicy.generate(4, 2, 3, seed=0)
result = sb.record(
    instance.problem(), instance.x0, out="run", name="mine", num_steps=40, checkpoint_seconds=0,
    method=sb.MSoBiRL(), optimizer="adam", metrics=lambda result: {"half": result.objective / 2},
)
"""


def record(out, problem=None, **options):
    arguments = {"method": sb.MSoBiRL(), "optimizer": "adam", "num_steps": 20, **options}
    return sb.record(problem or INSTANCE.problem(), INSTANCE.x0, out=out, **arguments)


def test_what_it_leaves_and_returns(tmp_path):
    result = record(tmp_path / "run", name="mine", metrics=lambda r: {"half": r.objective / 2})
    whole = sb.minimize(
        INSTANCE.problem(), INSTANCE.x0, method=sb.MSoBiRL(), optimizer="adam", num_steps=20
    )
    np.testing.assert_array_equal(result.x, whole.x)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["problem"] == "mine"
    assert summary["metrics"] == {"half": result.objective / 2}
    assert summary["method"] == "MSoBiRL"
    assert (tmp_path / "run" / "metrics.csv").read_text().count("\n") == 21
    assert (tmp_path / "run" / "figures" / "convergence.png").read_bytes()[:4] == b"\x89PNG"
    for command in (["show"], ["report", "--out", tmp_path / "report"]):
        code, printed, error = sobirl(*command, tmp_path / "run")
        assert (code, error) == (0, "")
        assert "half" in printed


def test_the_same_call_again_computes_nothing(tmp_path, monkeypatch):
    first = record(tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    again = record(tmp_path / "run")
    np.testing.assert_array_equal(first.x, again.x)
    np.testing.assert_array_equal(first.history["objective"], again.history["objective"])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_other_options_and_folders_are_refused(tmp_path):
    record(tmp_path / "run")
    with pytest.raises(sb.InvalidInputError, match=r"a run with num_steps 20, not 30.*force=True"):
        record(tmp_path / "run", num_steps=30)
    with pytest.raises(sb.InvalidInputError, match="a run with key 0, not 1"):
        record(tmp_path / "run", key=1)
    assert record(tmp_path / "run", num_steps=30, force=True).steps == 30
    with pytest.raises(sb.InvalidInputError, match=r"a run with arguments .*MSoBiRL"):
        record(tmp_path / "run", num_steps=30, method="exact")
    (tmp_path / "thesis").mkdir()
    with pytest.raises(sb.InvalidInputError, match="exists; choose another"):
        record(tmp_path / "thesis")
    with pytest.raises(sb.InvalidInputError, match="num_steps should be greater than"):
        record(tmp_path / "other", num_steps=0)
    assert not (tmp_path / "other").exists()


def test_arguments_are_told_apart():
    one, other = optax.adam(1e-2), optax.adam(2e-2)
    assert described({"optimizer": one}) == described({"optimizer": optax.adam(1e-2)})
    assert described({"optimizer": one}) != described({"optimizer": other})
    assert described({"projection": sb.box(0.0)}) != described({"projection": sb.box(1.0)})
    assert " at 0x" not in described({"method": sb.Exact(), "optimizer": optax.adam})


def test_an_error_in_the_problem_leaves_nothing(tmp_path):
    problem = sb.BilevelProblem(INSTANCE.problem().follower, lambda x, response: response.oops)
    with pytest.raises(AttributeError, match="oops"):
        record(tmp_path / "run", problem)
    assert list(tmp_path.iterdir()) == []


def test_resume_runs_the_script_again(tmp_path):
    """Stopped by SIGTERM in the middle, and ended by `sobirl resume`."""
    (tmp_path / "script.py").write_text(SCRIPT)
    stopping = SCRIPT.replace(
        "instance =",
        "from sobirl.runs.journal import Journal\n"
        "record = Journal.record\n"
        "def stop(self, state, rows, seconds):\n"
        "    record(self, state, rows, seconds)\n"
        "    if state.step >= 7: os.kill(os.getpid(), signal.SIGTERM)\n"
        "Journal.record = stop\n"
        "instance =",
        1,
    )
    whole = record(tmp_path / "whole", num_steps=40)
    (tmp_path / "script.py").write_text(stopping)
    stopped = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert stopped.returncode != 0
    assert "KeyboardInterrupt: stopped; " in stopped.stderr
    assert " of 40 steps are kept, go on with: sobirl resume run" in stopped.stderr
    (tmp_path / "script.py").write_text(SCRIPT)
    code, printed, _ = sobirl("resume", tmp_path / "run")
    assert code == 0
    assert f"script.py in {tmp_path}" in printed
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["objective"] == whole.objective
    assert "has ended" in sobirl("resume", tmp_path / "run")[1]


def test_a_script_that_is_gone(tmp_path):
    record(tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["script"] = {"path": "gone.py", "arguments": [], "folder": str(tmp_path)}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    code, _, error = sobirl("resume", tmp_path / "run")
    assert code == 2
    assert "gone.py: is gone" in error
    config["script"] = None
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    assert "make the same call of sobirl.record again" in sobirl("resume", tmp_path / "run")[2]
