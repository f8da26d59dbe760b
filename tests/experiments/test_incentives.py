"""`sobirl run incentives`: a stranger's environment, what is written, and what is refused."""

import csv
import json
import math
import os
import re
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from runs.conftest import sobirl
from sobirl.experiments.incentives.rounds import Rounds
from sobirl.experiments.incentives.turns import rounds_each, turns

pytestmark = pytest.mark.usefixtures("unrendered")

# Two ways to the market, of which the first is shorter and noisy; a stranger's module.
ROADS = """
import gymnasium
import jax.numpy as jnp
import numpy as np


class Roads(gymnasium.Env):
    observation_space = gymnasium.spaces.Discrete(2)
    action_space = gymnasium.spaces.Discrete(2)
    tells, fails, days = True, False, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        type(self).days += 1
        if self.fails and self.days > 60:
            raise OSError("the bridge is down")
        quiet = float(action == 1)
        info = {"leader_reward": quiet} if self.tells else {}
        return 1, 0.5 * (1 - quiet), True, False, info


class Silent(Roads):
    tells = False


class Broken(Roads):
    fails = True


class Parcels(Roads):
    action_space = gymnasium.spaces.MultiDiscrete([2, 2])


def quiet(observation, action, next_observation, x):
    return jnp.where(action == 1, 1.0, 0.0)


def wide(observation, action, next_observation, x):
    return observation


def blind(observation, action, next_observation, x):
    return jnp.log(observation[0] - 2)
"""
SMALL = "run incentives --quiet --steps 240 --round-steps 40 --random-steps 20 --episodes 4"
SMALL += " --episode-steps 3 --num-envs 2 --batch 8 --updates-per-step 0.5 --widths 8"
SMALL += " --checkpoint-seconds 0 --clips 0 --discount 0.9 --temperature 0.5"


@pytest.fixture
def roads(tmp_path, monkeypatch):
    """A folder with the module."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "roads.py").write_text(ROADS)
    sys.modules.pop("roads", None)
    return tmp_path


def small(*more):
    return sobirl(*SMALL.split(), *more)


def rows_of(run):
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def outcome(run):
    """All that must not depend on what happened on the way."""
    summary = json.loads((run / "summary.json").read_text())
    del summary["metrics"]["steps_per_second"]
    kept = {name: value for name, value in summary.items() if not name.endswith("_seconds")}
    return kept, (run / "metrics.csv").read_text(), sb.load_run(run).x


def test_a_strangers_environment(roads, monkeypatch):
    code, printed, error = small("--env", "roads:Roads", "--leader-from-info", "--out", "run")
    assert (code, error) == (0, "")
    assert "roads:Roads, trace, 240 steps" in printed
    run = roads / "run"
    rows = rows_of(run)
    assert len(rows) == 6
    returns = [float(row["leader_return"]) for row in rows]
    assert set(np.round(4 * np.array(returns))) <= set(range(5))  # shares of four days
    # Before the warm-up is over nothing is paid.
    assert [float(row["spent"]) > 0 for row in rows] == [False] * 3 + [True] * 3
    assert (run / "figures" / "incentives.png").exists()
    metrics = json.loads((run / "summary.json").read_text())["metrics"]
    assert metrics["leader_return"] == returns[-1] and metrics["episode_length"] == 1
    found = sb.load_run(run)
    paid = [found.reward(np.array([1.0, 0.0]), road) for road in range(2)]
    assert 0 < abs(paid[1]) <= 1 and paid[0] != paid[1]
    assert {int(found.policy(np.array([1.0, 0.0]), seed=seed)) for seed in range(9)} == {0, 1}


@pytest.mark.slow  # two commands with networks; the driver and the journal have tests of their own
def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(roads, monkeypatch):
    task = "--env", "CartPole-v1", "--leader", "roads.py:quiet", "--form", "linear", "--starts", "2"
    task += "--steps", "480", "--out"
    assert small(*task, "run")[0] == 0
    one_round = Rounds.round

    def stopped(self, state):
        after, row = one_round(self, state)
        if after.step == 8:  # of the second start
            os.kill(os.getpid(), signal.SIGINT)
        return after, row

    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "round", stopped)
        code, _, error = small(*task, "again")
        assert code == 130 and "sobirl resume again" in error
    assert len(rows_of(roads / "again")) == 8
    assert sobirl("resume", "again")[0] == 0
    (first, text, x), (second, other, y) = outcome(roads / "run"), outcome(roads / "again")
    assert first["resumes_exactly"]
    assert (first, text) == (second, other)
    assert jax.tree.all(jax.tree.map(np.array_equal, x, y))


def test_the_worse_starts_are_given_up():
    assert [tuple(turn) for turn in turns(2, 6, 2)] == [(0, 0)] * 3 + [(0, 1)] * 3 + [(1, 0)] * 3
    for starts in (1, 2, 3, 4, 8):
        rounds = rounds_each(starts, 200, 0.2)
        found = turns(starts, rounds, math.ceil(0.2 * rounds))
        assert 180 < len(found) <= 200
        assert sum(turn.slot == 0 for turn in found) == rounds
        assert found[-1] == (math.ceil(math.log2(starts)), 0)


@pytest.mark.parametrize(
    "options, message",
    [
        (
            "--env roads:Silent --leader-from-info",
            r"roads:Silent does not give info\['leader_reward'\] with every step",
        ),
        ("--env roads:Roads --leader roads.py:wide", r"leader: must give one number .* shape \(2,"),
        pytest.param(
            "--env roads:Roads --leader roads.py:blind",
            "in round 1 the leader's return is nan",
            marks=pytest.mark.slow,  # `deep/test_incentive_design.py` has it
        ),
        ("--env roads:Roads --leader roads.py:none", "roads.py has no function none"),
        ("--env roads:Roads --leader lost.py:none", "there is no file lost.py"),
        ("--env roads:Roads --leader roads.py", "--leader must be FILE.py:function, got roads.py"),
        ("--env roads:Nowhere", "Gymnasium has no environment 'Nowhere'"),
        ("--env roads:Roads --budget -1", "--budget should be greater than or equal to 0, got -1"),
        (
            "--env CartPole-v1 --leader-from-info",
            r"CartPole-v1 does not give info\['leader_reward'\] with every step",
        ),
        ("--env roads:Parcels", "takes MultiDiscrete actions, and only Discrete and Box ones"),
        ("--env Blackjack-v1", "shows a Tuple space; make it a vector"),
        ("--env Pendulum-v1 --follower soft-q", "soft-q cannot take the continuous actions of"),
        ("--env CartPole-v1 --form table", "--form table: the states or actions of CartPole-v1"),
    ],
)
def test_bad_input(roads, options, message):
    code, printed, error = small(*options.split(), "--out", "run")
    assert code == 2 and printed == ""
    assert re.search(message, " ".join(error.split())), error
    assert not (roads / "run").exists()


def test_an_environment_that_raises_leaves_the_run(roads):
    code, _, error = small("--env", "roads:Broken", "--leader", "roads.py:quiet", "--out", "run")
    assert code == 2 and "its step raised OSError: the bridge is down (roads.py, line" in error
    assert "2 steps are kept, go on with: sobirl resume run" in " ".join(error.split())
    run = roads / "run"
    assert (run / "error.txt").exists() and len(rows_of(run)) == 2
    # What the leader wants must not change on the way.
    (roads / "roads.py").write_text(ROADS.replace("action == 1, 1.0", "action == 0, 1.0"))
    code, _, error = sobirl("resume", "run")
    assert code == 2 and len(rows_of(run)) == 2
    message = f"--leader {roads}/roads.py: has changed since the run began; start a new run with it"
    assert message in " ".join(error.split())


def test_incentives_of_ones_own_that_run_away(roads):
    sys.path.insert(0, str(roads))
    try:
        from roads import Roads, quiet
    finally:
        sys.path.remove(str(roads))

    def steep(observation, action, x):
        return jnp.where(action == 1, x**9, 0.0)

    settings = {"steps": 240, "round_steps": 40, "random_steps": 20, "episodes": 4, "num_envs": 2}
    settings |= {"batch": 8, "updates_per_step": 0.5, "widths": (8,), "episode_steps": 3}
    settings |= {"incentive": steep, "x0": 1.0, "progress": False}
    with pytest.raises(sb.InvalidInputError, match=r"not finite, where x goes up to 1e\+05"):
        sb.design_incentives(Roads, quiet, leader_rate=1e5, **settings)
    bounded = sb.design_incentives(Roads, quiet, leader_rate=10.0, bound=2.0, **settings)
    assert abs(bounded.incentive(np.array([1.0, 0.0]), 1)) == 2
