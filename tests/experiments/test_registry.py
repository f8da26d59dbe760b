"""A stranger's problem and method, from the command line: nothing of sobirl is edited."""

import dataclasses
import json
import sys
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from runs.conftest import sobirl
from sobirl.experiments.descent import DescentOptions
from sobirl.experiments.registry import EXPERIMENTS
from sobirl.hypergrad.methods import METHODS, MethodEntry, methods_for
from sobirl.runs.options import Choices, Positive
from sobirl.testing import check_method

pytestmark = pytest.mark.usefixtures("unrendered")


class Differentiated(sb.HypergradMethod):
    """A method in one function: automatic differentiation of φ."""

    objective_is_exact = True

    def begin(self, problem, x, key):
        return ()

    def estimate_one(self, problem, x, state, key):
        def value(x):
            return problem.upper(x, sb.solve(problem.mdp(x), throw=False))

        objective, gradient = jax.value_and_grad(value)(x)
        return objective, gradient, state, {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TollRoad(DescentOptions):
    """A toll road: how much may it cost before everybody takes the other one?"""

    problem = "toll-road"
    objective_label = "minus the revenue"

    congestion: Positive = 1.0
    """What the free road costs."""
    method: Annotated[str, Choices(lambda: methods_for())] = "exact"
    """How to get the hyper-gradient."""
    learning_rate: Positive = 0.1
    """Step size on x."""
    num_steps: int = 60
    """Outer steps."""

    def instance(self):
        """One state, two roads, a toll on the first."""

        def follower(toll):
            reward = jnp.stack([-toll, -jnp.asarray(self.congestion)])[None]
            return sb.SoftMDP(sb.Dense(np.ones((1, 2, 1))), reward, 0.5, 0.3, np.ones(1))

        problem = sb.BilevelProblem(follower, lambda x, response: -x * response.policy[0, 0])
        return problem, jnp.array(0.1)


@pytest.fixture
def strangers(monkeypatch):
    monkeypatch.setitem(METHODS, "differentiated", MethodEntry(Differentiated, "φ differentiated"))
    monkeypatch.setitem(EXPERIMENTS, "toll-road", TollRoad)


@pytest.mark.slow  # `testing/test_own_method.py` has such a one in the default run
def test_a_strangers_method_keeps_the_contract():
    check_method(Differentiated())


def test_a_strangers_problem_and_method_from_the_command_line(strangers, tmp_path):
    listed = sobirl("list")[1]
    assert "toll-road" in listed
    assert "differentiated" in listed
    assert "--congestion" in sobirl("run", "toll-road", "--help")[1]
    found = {}
    for method in ("exact", "differentiated"):
        run = tmp_path / method
        code, printed, error = sobirl("run", "toll-road", "--method", method, "--out", run)
        assert (code, error) == (0, "")
        assert "minus the revenue" in printed
        assert (run / "figures" / "convergence.png").exists()
        found[method] = json.loads((run / "summary.json").read_text())["objective"]
    np.testing.assert_allclose(found["exact"], found["differentiated"], rtol=1e-6)
    assert sobirl("report", tmp_path / "exact", "--out", tmp_path / "report")[0] == 0
    assert sb.load_run(tmp_path / "exact").policy(0).shape == (2,)
    error = sobirl("run", "toll-road", "--congestion", "-1")[2]
    assert error == "sobirl: error: --congestion should be greater than 0, got -1.0\n"


def test_a_strangers_run_says_which_program_knows_it(strangers, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["toll_road.py"])
    assert sobirl("run", "toll-road", "--congestion", "2", "--out", tmp_path / "run")[0] == 0
    (tmp_path / "run" / "summary.json").unlink()
    shown = " ".join(sobirl("show", tmp_path / "run")[1].replace("│", "").split())
    assert "python toll_road.py run toll-road --congestion 2.0" in shown
    assert "python toll_road.py resume" in shown
    monkeypatch.delitem(EXPERIMENTS, "toll-road")
    error = sobirl("resume", tmp_path / "run")[2]
    assert "no problem 'toll-road', which is of another program: python toll_road.py run" in error


def test_the_name_of_a_problem_is_no_option():
    with pytest.raises(TypeError, match="problem: write it without a type"):

        class Annotated(DescentOptions):
            problem: str = "toll-road"
