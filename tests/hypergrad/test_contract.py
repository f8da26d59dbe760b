"""What every method keeps to, whatever it computes: one suite for all of them."""

import types

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest

import sobirl as sb
from estimators import DETERMINISTIC, INCENTIVES, METHODS, VARIANTS, compiled
from sobirl.bilevel import loop
from sobirl.bilevel.checkpoint import Checkpoint
from sobirl.core.protocols import Method

# Four starts side by side that differ in one thing each.
FIRST, OTHER_SEED, OTHER_NUMBERS, OTHER_STEP = range(4)
STEP_SIZES = jnp.array([0.1, 0.1, 0.1, 0.2])
# Those with numbers of their own, beside those of their solver.
NUMBERED = ("m-sobirl", "trace-fitted", "plug-in", "bchg", "zero-order", "pbrl", "stoc-sobirl-pg")


def with_other_numbers(method):
    """The method once a start (4, ...); `OTHER_NUMBERS` has half of every number in it."""

    def each(leaf):
        leaf = jnp.stack([jnp.asarray(leaf)] * len(STEP_SIZES))
        inexact = jnp.issubdtype(leaf.dtype, jnp.inexact)
        return leaf.at[OTHER_NUMBERS].multiply(0.5) if inexact else leaf

    return jax.tree.map(each, method)


def four_starts(method, problem, x):
    """The outer loop of four starts as (state before it, advance(state, steps), its traces)."""
    methods, traces = with_other_numbers(method), []
    settings = loop.StartSettings(STEP_SIZES, None)
    keys = jax.random.split(jax.random.key(0), 2)[jnp.array([0, 1, 0, 0])]

    def begin(method, settings, x, key):
        return loop.init(problem, method, optax.sgd, settings, x, key)

    def advance(method, settings, state, count):
        traces.append(None)
        return loop.run_chunk(problem, method, settings, state, count, None, optax.sgd, 4)

    program = compiled(jax.vmap(advance, in_axes=(0, 0, 0, None)))
    state = compiled(jax.vmap(begin, in_axes=(0, 0, None, 0)))(methods, settings, x, keys)
    return state, lambda state, count: program(methods, settings, state, jnp.int32(count)), traces


EVERY_METHOD = METHODS | VARIANTS
CASES = [*METHODS, *(pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS)]


@pytest.fixture(scope="module", params=CASES)
def run(request, tmp_path_factory):
    """A few outer steps of a method: at once, once more, and with a checkpoint in between."""
    method, make = EVERY_METHOD[request.param]
    problem, x = make()
    start, advance, traces = four_starts(method, problem, x)
    first, _ = advance(start, 1)
    whole, records = advance(start, 4)
    again, _ = advance(start, 4)

    path = tmp_path_factory.mktemp("checkpoints") / "run.npz"
    halfway, rows = advance(start, 2)
    recorder = Checkpoint(path)
    recorder.record(halfway, {name: np.asarray(row).T[:2] for name, row in rows.items()}, 0.0)
    recorder.save()
    restored, _, _ = Checkpoint(path).restore(like=start)
    resumed, _ = advance(restored, 2)

    return types.SimpleNamespace(
        name=request.param,
        method=method,
        problem=problem,
        x=x,
        start=start,
        first=first,
        whole=whole,
        again=again,
        resumed=resumed,
        records=records,
        traces=traces,
    )


def numbers(tree):
    """All arrays of a tree as NumPy arrays, keys as what they are made of."""
    raw = jax.tree.map(lambda a: jax.random.key_data(a) if _is_key(a) else a, tree)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(raw)]


def _is_key(leaf):
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def same_bits(one, other):
    return all(
        np.array_equal(a, b, equal_nan=True)
        for a, b in zip(numbers(one), numbers(other), strict=True)
    )


def kind(tree):
    """Structure, shapes, dtypes and weak types: what decides whether a program serves."""
    shapes = jax.eval_shape(lambda tree: tree, tree)
    leaves = [(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in jax.tree.leaves(shapes)]
    return jax.tree.structure(tree), leaves


def test_shapes_and_types(run):
    """The hyper-gradient is like x; the state after a step is like the one before the first."""
    assert isinstance(run.method, Method)
    key = jax.random.key(0)
    state = run.method.init(run.problem, run.x, key)
    hypergradient, after, metrics = jax.eval_shape(
        lambda x, state: run.method.estimate(run.problem, x, state, key), run.x, state
    )
    assert kind(hypergradient) == kind(run.x)
    assert kind(after) == kind(state)
    assert {"objective", "status"} <= set(metrics)
    assert {metric.shape for metric in metrics.values()} == {()}


def test_metrics_are_finite(run):
    assert all(np.isfinite(record).all() for record in run.records.values())
    assert (run.records["status"] == sb.Status.CONVERGED).all()
    assert same_bits(run.whole.step, jnp.full(4, 4, jnp.int32))


def test_one_program_for_all_steps(run):
    """Of any state: the first, one of its own, and one from a file."""
    assert len(run.traces) == 1


def test_the_same_seed_gives_the_same_bits(run):
    assert same_bits(run.again, run.whole)
    first, other = (run.records["hypergradient_norm"][i] for i in (FIRST, OTHER_SEED))
    assert np.array_equal(first, other) == (run.name in DETERMINISTIC)


def test_goes_on_from_a_checkpoint_bit_for_bit(run):
    assert same_bits(run.resumed, run.whole)


def test_step_sizes_batch(run):
    for x, moved in zip(numbers(run.x), numbers(run.first.x), strict=True):
        np.testing.assert_allclose(moved[OTHER_STEP] - x, 2 * (moved[FIRST] - x), rtol=1e-9)


def test_the_methods_numbers_batch(run):
    first, other = (run.records["hypergradient_norm"][i] for i in (FIRST, OTHER_NUMBERS))
    assert run.name not in NUMBERED or not np.array_equal(first, other)


def test_starts_while_being_compiled(run):
    """`init` with a concrete x and a traced key, which are told nothing about the values."""
    keys = jax.random.split(jax.random.key(0), 2)
    states = jax.eval_shape(jax.vmap(lambda key: run.method.init(run.problem, run.x, key)), keys)
    alone = jax.eval_shape(lambda key: run.method.init(run.problem, run.x, key), keys[0])
    assert jax.tree.structure(states) == jax.tree.structure(alone)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_METHOD)
def test_minimize_with_a_checkpoint(name, tmp_path):
    """From the user's side: stopped by an error and taken up again."""
    method, make = EVERY_METHOD[name]
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
            problem, xs, method, optax.sgd, 4, starts=2, step_sizes=sizes, recorder=recorder
        )

    with pytest.raises(RuntimeError, match="power cut"):
        minimize(Stumble(tmp_path / "run.npz", seconds=0))
    resumed, whole = minimize(Checkpoint(tmp_path / "run.npz")), minimize()
    assert same_bits(resumed.start_x, whole.start_x)
    for column in whole.history:
        np.testing.assert_array_equal(resumed.history[column], whole.history[column])


class NoSoftMDP(eqx.Module):
    """A lower level that answers, but has no Bellman equation."""

    x: jax.Array

    def solve(self, initial_value=None, throw=True):
        return self.x


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
    method, _ = METHODS[name]

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
        (sb.AdvantageTrace, {"num_steps": 0}, "num_steps: must be at least 1"),
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
        (sb.PBRL, {"policy_step_size": 0.0}, r"policy_step_size: must lie in \(0, 1\], got 0.0"),
        (sb.PBRL, {"penalty_growth": -1.0}, "penalty_growth: must not be negative, got -1.0"),
        (sb.SoBiRL, {"horizon": 1.5}, "horizon: must be 'full' or a number of steps"),
        (
            sb.StocSoBiRL,
            {"inner": "policy_gradient", "inner_step_size": -1.0},
            "inner_step_size: must be positive, got -1.0",
        ),
        (sb.HPGD, {"sampling": "all"}, "sampling: must be 'on_policy', 'uniform' or"),
        (sb.BCHG, {"num_steps": -1}, "num_steps: must be at least 1, got -1"),
        (sb.PlugIn, {"num_steps": 0}, "num_steps: must be at least 1, got 0"),
        (sb.Naive, {"num_envs": 0}, "num_envs: must be at least 1"),
        (sb.ZeroOrder, {"directions": 0}, "directions: must be at least 1"),
        (sb.ZeroOrder, {"num_envs": 0}, "num_envs: must be at least 1"),
        (sb.ZeroOrder, {"num_steps": 0}, "num_steps: must be at least 1"),
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
        (sb.StocSoBiRL, {"inner_step_size": 0.5}, "inner_step_size: goes with inner='policy_gradi"),
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
