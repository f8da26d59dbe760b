"""What every method keeps to, whatever it computes: one suite for all of them."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest

import sobirl as sb
from estimators import INCENTIVES, SOLVER, VARIANTS
from sobirl.bilevel.checkpoint import Checkpoint
from sobirl.hypergrad import METHODS
from sobirl.testing import check_method, same_bits
from sobirl.testing.small_problems import NoSoftMDP


def small(name):
    """A method of the table with few environment steps and, unless it factorizes, with sweeps."""
    entry = METHODS[name]
    fields = {field.name for field in dataclasses.fields(entry.load())}
    sweeps = {"solver": SOLVER} if "solver" in fields and name != "exact" else {}
    return entry.make(24, **sweeps)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps_the_contract(name):
    check_method(small(name))


CASES = [
    pytest.param(name, marks=() if quick else pytest.mark.slow)
    for name, (_, _, quick) in VARIANTS.items()
]


@pytest.mark.parametrize("name", CASES)
def test_variants_keep_the_contract(name):
    method, make, _ = VARIANTS[name]
    check_method(method, *make())


@pytest.mark.parametrize("name", METHODS)
def test_numbers_are_leaves(name):
    """So that they can differ from start to start; counts and words are not."""
    method = METHODS[name].make()
    for field in dataclasses.fields(method):
        value = getattr(method, field.name)
        if isinstance(value, (float, int, str)):
            assert field.metadata.get("static", False) != isinstance(value, float), field.name


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_minimize_with_a_checkpoint(name, tmp_path):
    """From the user's side: stopped by an error and taken up again."""
    method, make, _ = VARIANTS[name]
    problem, x = make()

    class Stumble(Checkpoint):
        def record(self, state, rows, seconds):
            super().record(state, rows, seconds)
            if np.max(state.step) >= 2:
                raise RuntimeError("power cut")

    def minimize(recorder=None):
        xs = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), x)
        sizes = jnp.array([0.1, 0.2])
        return sb.minimize(
            problem, xs, method, optax.sgd, 4, starts=2, learning_rates=sizes, recorder=recorder
        )

    with pytest.raises(RuntimeError, match="power cut"):
        minimize(Stumble(tmp_path / "run.npz", seconds=0))
    resumed, whole = minimize(Checkpoint(tmp_path / "run.npz")), minimize()
    assert same_bits(resumed.start_x, whole.start_x)
    for column in whole.history:
        np.testing.assert_array_equal(resumed.history[column], whole.history[column])


def refusal(method, problem, x, message):
    with pytest.raises(sb.InvalidInputError, match=message):
        sb.minimize(problem, x, method, num_steps=1)


def both_objectives(follower):
    """A return and a loss of trajectories of a follower."""
    leader = sb.LeaderReturn(follower, INCENTIVES.leader_reward, 0.7)
    return leader, leader.as_trajectory_loss(2)


def objective_for(method, follower):
    leader, loss = both_objectives(follower)
    return loss if isinstance(method, (sb.SoBiRL, sb.StocSoBiRL)) else leader


@pytest.mark.parametrize("name", METHODS)
def test_refuses_a_follower_that_is_no_soft_mdp(name):
    method = METHODS[name].make()

    def follower(x):
        return NoSoftMDP(x["pay"])

    problem = sb.BilevelProblem(follower, objective_for(method, follower))
    message = f"follower: must return a SoftMDP for {type(method).__name__}, got NoSoftMDP"
    refusal(method, problem, INCENTIVES.x0(), message)


RETURNS_ONLY = [sb.AdvantageTrace(), sb.HPGD(), sb.BCHG(), sb.Naive(), sb.ZeroOrder(), sb.PlugIn()]
RETURNS_ONLY += [sb.PBRL(num_walks=4)]
LOSSES_ONLY = [sb.SoBiRL(), sb.StocSoBiRL()]


def called(method):
    return type(method).__name__


@pytest.mark.parametrize("method", RETURNS_ONLY + LOSSES_ONLY, ids=called)
def test_refuses_an_objective_that_it_cannot_sample(method):
    needed = "TrajectoryLoss" if method in LOSSES_ONLY else "LeaderReturn"
    problem = sb.BilevelProblem(INCENTIVES.follower, lambda x, response: response.value[0])
    message = f"objective: {called(method)} works from trajectories and needs a sobirl.{needed}"
    refusal(method, problem, INCENTIVES.x0(), message)


@pytest.mark.parametrize("method", [*LOSSES_ONLY, sb.PBRL(num_walks=4), sb.PlugIn()], ids=called)
def test_refuses_transitions_that_it_does_not_differentiate(method):
    instance = type(INCENTIVES).generate(3, 2, 2, steers_transitions=True)
    problem = sb.BilevelProblem(instance.follower, objective_for(method, instance.follower))
    message = f"{called(method)}: the leader's x enters the follower's transition"
    refusal(method, problem, instance.x0(), message)


@pytest.mark.parametrize("entry", ["temperature", "discount", "initial"])
@pytest.mark.parametrize(
    "method", [sb.AdvantageTrace(), sb.Naive(), sb.PBRL(num_walks=4), *LOSSES_ONLY], ids=called
)
def test_refuses_x_in_the_rest_of_the_follower(method, entry):
    def follower(x):
        size = jax.nn.sigmoid(x["pay"][0])
        rows = jnp.stack([size, 1 - size, jnp.zeros(())])
        changed = {"temperature": size, "discount": size, "initial": rows}
        mdp = INCENTIVES.follower(x)
        return eqx.tree_at(lambda m: getattr(m, entry), mdp, changed[entry])

    problem = sb.BilevelProblem(follower, objective_for(method, follower))
    message = f"{called(method)}: the leader's x enters the follower's {entry}, which this"
    refusal(method, problem, INCENTIVES.x0(), message)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (sb.HPGD, {"num_envs": 0}, "num_envs: must be at least 1, got 0"),
        (sb.AdvantageTrace, {"rollout_steps": 0}, "rollout_steps: must be at least 1"),
        (sb.AdvantageTrace, {"episodes": "endless"}, "episodes: must be 'single', 'autoreset' or"),
        (sb.AdvantageTrace, {"advantage": "td"}, "advantage: must be 'fitted', 'rollouts' or"),
        (sb.AdvantageTrace, {"branches": 2}, "branches: goes with advantage='rollouts' only"),
        (
            sb.AdvantageTrace,
            {"advantage": "rollouts", "branches": 0},
            "branches: must be at least 1, got 0",
        ),
        (sb.AdvantageTrace, {"memory": 2.0}, r"memory: must lie in \[0, 1\], got 2.0"),
        (
            sb.AdvantageTrace,
            {"advantage": "exact", "memory": 1.0},
            "memory: goes with advantage='fitted' only",
        ),
        (sb.PlugIn, {"memory": -1.0}, r"memory: must lie in \[0, 1\], got -1.0"),
        (sb.BCHG, {"learning_rate": -1.0}, r"learning_rate: must lie in \(0, 1\], got -1.0"),
        (
            sb.PBRL,
            {"policy_learning_rate": 0.0},
            r"policy_learning_rate: must lie in \(0, 1\], got 0.0",
        ),
        (sb.PBRL, {"penalty_growth": -1.0}, "penalty_growth: must not be negative, got -1.0"),
        (sb.SoBiRL, {"horizon": 1.5}, "horizon: must be 'full' or a number of steps"),
        (
            sb.StocSoBiRL,
            {"inner": "policy_gradient", "inner_learning_rate": -1.0},
            "inner_learning_rate: must be positive, got -1.0",
        ),
        (sb.HPGD, {"sampling": "all"}, "sampling: must be 'on_policy', 'uniform' or"),
        (sb.BCHG, {"rollout_steps": -1}, "rollout_steps: must be at least 1, got -1"),
        (sb.PlugIn, {"rollout_steps": 0}, "rollout_steps: must be at least 1, got 0"),
        (sb.Naive, {"num_envs": 0}, "num_envs: must be at least 1"),
        (sb.ZeroOrder, {"directions": 0}, "directions: must be at least 1"),
        (sb.ZeroOrder, {"num_envs": 0}, "num_envs: must be at least 1"),
        (sb.ZeroOrder, {"rollout_steps": 0}, "rollout_steps: must be at least 1"),
        (sb.ZeroOrder, {"scale": 0.0}, r"scale: must be positive, got 0\.0"),
        (sb.ZeroOrder, {"scale": float("nan")}, "scale: must be positive, got nan"),
        (sb.AMD, {"updates": 0}, "updates: must be at least 1, got 0"),
        (sb.PBRL, {"kind": "both"}, "kind: must be 'value' or 'bellman', got 'both'"),
        (sb.PBRL, {"penalty": -1.0}, r"penalty: must be positive, got -1\.0"),
        (sb.PBRL, {"policy_steps": 0}, "policy_steps: must be at least 1"),
        (sb.PBRL, {"num_walks": 0}, "num_walks: must be at least 1"),
        (sb.SoBiRL, {"num_tuples": 1}, "num_tuples: must be at least 2 with a baseline, got 1"),
        (sb.SoBiRL, {"num_tuples": 0, "baseline": False}, "num_tuples: must be at least 1, got"),
        (sb.SoBiRL, {"horizon": -1}, "horizon: must be 'full' or a number of steps from 0"),
        (sb.SoBiRL, {"horizon": "all"}, "horizon: must be 'full' or .* got 'all'"),
        (sb.SoBiRL, {"tails": "td"}, "tails: must be 'rollouts' or 'fitted', got 'td'"),
        (sb.SoBiRL, {"tails": "fitted", "horizon": 3}, "horizon: must be 'full' if fitted, got 3"),
        (sb.SoBiRL, {"expectations": "none"}, "expectations: must be 'sampled' or 'exact'"),
        (sb.StocSoBiRL, {"inner": "adam"}, "inner: must be 'sweep' or 'policy_gradient'"),
        (
            sb.StocSoBiRL,
            {"inner_learning_rate": 0.5},
            "inner_learning_rate: goes with inner='policy_gradi",
        ),
        (sb.StocSoBiRL, {"inner_steps": 0}, "inner_steps: must be at least 1, got 0"),
        (sb.StocSoBiRL, {"horizon": -2}, "horizon: must be 'full' or"),
        (sb.tail_horizon, {"discount": 1.0, "error": 0.1}, r"discount: must lie in \[0, 1\), got"),
        (sb.tail_horizon, {"discount": 0.9, "error": 0.0}, r"error: must be positive, got 0\.0"),
    ],
)
def test_names_the_option_that_is_wrong(monkeypatch, make, options, message):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is for users
    with pytest.raises(sb.InvalidInputError, match=message):
        make(**options)
