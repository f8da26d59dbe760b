"""Starts in rounds: which go on, what is kept of the others, and that nothing else changes."""

import signal

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sobirl as sb
from sobirl.bilevel import loop, rounds

NUM_STEPS = 26
HALVING = sb.SuccessiveHalving(rounds=3, factor=3)
X0 = jnp.linspace(-2.0, 3.0, 9)
OPTIMIZER = optax.sgd(0.3)


def follower(x):
    """One state, two actions: π(first) = sigmoid(x)."""
    reward = jnp.stack([x, jnp.zeros_like(x)])[None]
    return sb.SoftMDP(sb.Dense(np.ones((1, 2, 1))), reward, 0.5, 1.0, np.ones(1))


PROBLEM = sb.BilevelProblem(follower, lambda x, response: (response.policy[0, 0] - 0.8) ** 2)


def run(**changes):
    arguments = {"starts": 9, "rounds": HALVING, "chunk_size": 7} | changes
    return sb.minimize(PROBLEM, X0, optimizer=OPTIMIZER, num_steps=NUM_STEPS, **arguments)


@pytest.fixture(scope="module")
def result():
    return run()


def test_schedule():
    assert HALVING.schedule(9, NUM_STEPS) == [(2, 9), (8, 3), (26, 1)]
    assert sb.SuccessiveHalving(1).schedule(5, 10) == [(10, 5)]
    assert sb.SuccessiveHalving(3, 10.0).schedule(4, 3) == [(1, 4), (2, 1), (3, 1)]
    for factor in (1.1, 2.0, 7.5):
        ends = [end for end, _ in sb.SuccessiveHalving(5, factor).schedule(60, 7)]
        assert ends == sorted(set(ends))
        assert ends[-1] == 7


def test_the_best_go_on(result):
    objective = result.history["objective"]
    assert objective.shape == (NUM_STEPS, 9)
    # Row k holds the objective after the step, which a start that is dropped does not see.
    finite = np.isfinite(objective).sum(axis=0)
    assert sorted(finite.tolist()) == [1] * 6 + [7, 7, 26]
    first_seen = [float(PROBLEM.value(x)) for x in X0]
    best = np.fmin(first_seen, objective[0])
    assert set(np.flatnonzero(finite > 1)) == set(np.argsort(best)[:3])
    assert result.best_start == int(np.argmax(finite))
    assert result.objective == np.nanmin(result.start_objectives)
    assert np.isfinite(result.start_objectives).all()
    assert result.steps == NUM_STEPS
    # Whole numbers have no NaN.
    dropped = np.isnan(result.history["hypergradient_norm"])
    assert (result.history["status"][dropped] == 0).all()
    assert (result.history["solver_steps"][~dropped] > 0).all()


def test_a_start_that_goes_on_is_a_start_of_its_own(result):
    best = result.best_start
    alone = sb.minimize(PROBLEM, X0[best], optimizer=OPTIMIZER, num_steps=NUM_STEPS)
    np.testing.assert_allclose(result.history["objective"][:, best], alone.history["objective"])
    np.testing.assert_allclose(result.x, alone.x, rtol=1e-12)


def test_a_number_of_rounds(result):
    assert run(rounds=3).best_start == result.best_start


def test_one_round_drops_nothing():
    whole, one = run(rounds=None), run(rounds=sb.SuccessiveHalving(rounds=1))
    np.testing.assert_array_equal(whole.history["objective"], one.history["objective"])


class Stop(sb.Checkpoint):
    """Ctrl-C after some steps."""

    after = 0

    def record(self, state, rows, seconds):
        super().record(state, rows, seconds)
        if np.max(state.step) >= self.after:
            signal.raise_signal(signal.SIGINT)


# Within rounds, and where one ends: there the file has all starts, of which some are dropped next.
@pytest.mark.parametrize("after", [1, 2, 5, 8, 20])
def test_resumed_bit_for_bit(tmp_path, result, after):
    path = tmp_path / "checkpoint.npz"
    recorder = Stop(path)
    recorder.after = after
    with pytest.raises(KeyboardInterrupt):
        run(recorder=recorder, chunk_size=1)
    resumed = run(recorder=sb.Checkpoint(path))
    assert resumed.best_start == result.best_start
    np.testing.assert_array_equal(resumed.start_x, result.start_x)
    for name, rows in result.history.items():
        np.testing.assert_array_equal(resumed.history[name], rows)


@pytest.mark.slow  # `test_minimize.py` has starts side by side
def test_side_by_side_is_one_by_one(monkeypatch, result):
    """What accelerators do, on a CPU: a batch of those that run."""
    for module in (loop, rounds):
        monkeypatch.setattr(module, "default_platform", lambda: "gpu")
    problem = sb.BilevelProblem(follower, PROBLEM.objective)  # a new one, so that it is traced
    batch = sb.minimize(
        problem, X0, optimizer=optax.sgd(0.3), num_steps=NUM_STEPS, starts=9, rounds=HALVING
    )
    assert batch.best_start == result.best_start
    for name, rows in result.history.items():
        np.testing.assert_allclose(batch.history[name], rows, rtol=1e-9, atol=1e-12)


def test_one_program_for_all_rounds():
    traces = []

    def counted(x):
        traces.append(None)
        return follower(x)

    problem = sb.BilevelProblem(counted, PROBLEM.objective)

    def traced(**changes):
        before = len(traces)
        arguments = {"starts": 9, "num_steps": 5, "chunk_size": 3, "optimizer": OPTIMIZER} | changes
        sb.minimize(problem, X0, **arguments)
        return len(traces) - before

    traced()
    eager = traced()  # the checks before the first step
    assert traced(rounds=HALVING, num_steps=NUM_STEPS) == eager
    assert traced(rounds=sb.SuccessiveHalving(2, 4), num_steps=NUM_STEPS) == eager


def test_a_failing_start_does_not_go_on():
    x0 = X0.at[4].set(jnp.nan)
    result = sb.minimize(
        PROBLEM, x0, optimizer=OPTIMIZER, num_steps=NUM_STEPS, starts=9, rounds=HALVING
    )
    assert np.isfinite(result.objective)
    assert np.isnan(result.start_objectives[4])


def test_an_estimated_objective_is_that_of_a_finalist():
    result = sb.minimize(PROBLEM, X0, sb.MSoBiRL(), OPTIMIZER, NUM_STEPS, starts=9, rounds=HALVING)
    assert np.isfinite(result.history["objective"][-1, result.best_start])
    assert np.isfinite(result.final_objective)


def test_continuation_ends_in_the_first_round():
    continuation = sb.GeometricContinuation(2.0, 2)
    with pytest.raises(sb.InvalidInputError, match="the last of the 2 steps that every start"):
        run(continuation=continuation)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rounds": 0}, "rounds: must be a whole number, at least 1; got 0"),
        ({"rounds": 1.5}, "rounds: must be a whole number, at least 1; got 1.5"),
        ({"factor": 1}, "factor: must be a number above 1, got 1"),
        ({"factor": np.nan}, "factor: must be a number above 1, got nan"),
    ],
)
def test_bad_rounds(arguments, message):
    with pytest.raises(sb.InvalidInputError, match=message):
        sb.SuccessiveHalving(**arguments)


def test_bad_use():
    with pytest.raises(sb.InvalidInputError, match="rounds: 3 rounds need as many steps"):
        sb.minimize(PROBLEM, X0, starts=9, num_steps=2, rounds=HALVING)
    with pytest.raises(sb.InvalidInputError, match="rounds: must be a whole number, at least 1"):
        sb.minimize(PROBLEM, X0, starts=9, num_steps=9, rounds=-1)
