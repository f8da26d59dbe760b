"""A stranger's method, from its class to the command line: what a user adds, and nothing else."""

import json

import jax
import pytest

import sobirl as sb
from sobirl.apps import cli
from sobirl.hypergrad import METHODS, HypergradMethod, MethodEntry, Needs
from sobirl.testing import check_method


class Myopic(HypergradMethod):
    """The explicit term of the hyper-gradient alone."""

    needs = Needs(objective="any")

    def begin(self, problem, x, key):
        return problem.mdp(x).initial * 0

    def estimate_one(self, problem, x, state, key):
        response = sb.solve(problem.mdp(x), initial_value=state, throw=False)
        objective, gradient = jax.value_and_grad(problem.upper)(x, response)
        return objective, gradient, response.value, {"status": response.status_code}


@pytest.fixture
def listed(monkeypatch):
    monkeypatch.setitem(METHODS, "myopic", MethodEntry(Myopic, "the explicit term", Myopic.needs))


def test_it_keeps_the_contract(listed):
    check_method("myopic")


def test_it_runs_from_the_command_line(listed, tmp_path, capsys):
    cli.main(["list"])
    assert "myopic" in capsys.readouterr().out
    size = ["--states", "4", "--dimension", "3", "--num-steps", "4"]
    out = ["--quiet", "--out", str(tmp_path / "run")]
    cli.main(["run", "random-mdp", "--method", "myopic", *size, *out])
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["method"], summary["steps"]) == ("myopic", 4)


def test_a_problem_offers_only_what_it_has(listed, capsys):
    """The table says which methods go with a problem: this one has no return to follow."""
    with pytest.raises(SystemExit):
        cli.main(["run", "random-mdp", "--method", "hpgd", "--quiet"])
    assert "myopic" in capsys.readouterr().err
