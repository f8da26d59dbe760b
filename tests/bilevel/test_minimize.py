"""The outer loop, on a lower level whose answer is known in closed form."""

import contextlib
import signal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sobirl as sb
from sobirl.bilevel import driver
from sobirl.bilevel.interrupts import deferred_interrupt, termination_as_interrupt


def one_state_problem(target=0.8, temperature=1.0):
    """One state, two actions, reward (x, 0): π(first) = sigmoid(x/τ), best where it is `target`."""

    def follower(x):
        reward = jnp.stack([x, jnp.zeros_like(x)])[None]
        return sb.SoftMDP(sb.Dense(np.ones((1, 2, 1))), reward, 0.5, temperature, np.ones(1))

    return sb.BilevelProblem(follower, lambda x, response: (response.policy[0, 0] - target) ** 2)


OPTIMUM = np.log(0.8 / 0.2)


def test_finds_the_known_optimum():
    result = sb.minimize(one_state_problem(), jnp.array(0.0), optimizer=optax.adam(0.1))
    np.testing.assert_allclose(result.x, OPTIMUM, rtol=1e-5)
    np.testing.assert_allclose(result.final_x, OPTIMUM, rtol=1e-5)
    assert result.converged
    assert result.hypergradient_norm < 1e-6
    assert result.status is sb.Status.CONVERGED
    assert result.compile_seconds > 0
    assert result.run_seconds > 0


def test_history_rows():
    """Row k: the norm at x_k, the objective at x_{k+1}."""
    problem, x, xs = one_state_problem(), jnp.array(0.0), []
    result = sb.minimize(problem, x, optimizer=optax.sgd(0.5), num_steps=7, chunk_size=3)
    for _ in range(8):
        xs.append(x)
        x = x - 0.5 * jax.grad(problem.value)(x)
    norms = [abs(float(jax.grad(problem.value)(x))) for x in xs]
    objectives = [float(problem.value(x)) for x in xs]
    assert result.steps == 7
    np.testing.assert_allclose(result.history["hypergradient_norm"], norms[:7], rtol=1e-9)
    np.testing.assert_allclose(result.history["objective"], objectives[1:], rtol=1e-9)
    np.testing.assert_allclose(result.hypergradient_norm, norms[7], rtol=1e-9)
    np.testing.assert_allclose(result.final_objective, objectives[7], rtol=1e-9)


def test_best_is_kept_when_the_steps_go_astray():
    problem = one_state_problem()
    result = sb.minimize(problem, jnp.array(1.2), optimizer=optax.sgd(50.0), num_steps=20)
    assert result.objective == min(
        float(problem.value(jnp.array(1.2))), result.history["objective"].min()
    )
    assert result.objective < result.final_objective


def test_starts_run_side_by_side():
    problem = one_state_problem()
    x0 = jnp.array([0.0, 1.0, 5.0])
    together = sb.minimize(problem, x0, optimizer=optax.sgd(0.3), num_steps=10, starts=3)
    assert together.history["objective"].shape == (10, 3)
    for start in range(3):
        alone = sb.minimize(problem, x0[start], optimizer=optax.sgd(0.3), num_steps=10)
        np.testing.assert_allclose(together.start_x[start], alone.x, rtol=1e-12)
        np.testing.assert_allclose(
            together.history["objective"][:, start], alone.history["objective"], rtol=1e-12
        )
    assert together.best_start == int(np.argmin(together.start_objectives))
    assert together.objective == together.start_objectives.min()


def test_a_failing_start_leaves_the_others_be():
    x0 = jnp.array([0.0, jnp.nan, 0.5])
    result = sb.minimize(one_state_problem(), x0, optimizer=optax.adam(0.1), starts=3)
    np.testing.assert_allclose(result.x, OPTIMUM, rtol=1e-4)
    assert np.isnan(result.start_objectives[1])
    assert (result.history["status"][:, 1] == sb.Status.NOT_FINITE).all()
    assert result.converged


@pytest.mark.slow  # starts side by side are above
def test_step_sizes_by_start():
    problem, sizes = one_state_problem(), jnp.array([0.1, 0.4])
    result = sb.minimize(
        problem, jnp.zeros(2), optimizer=optax.sgd, learning_rates=sizes, starts=2, num_steps=5
    )
    for start, size in enumerate(sizes):
        alone = sb.minimize(problem, jnp.array(0.0), optimizer=optax.sgd(size), num_steps=5)
        expected = alone.history["objective"]
        np.testing.assert_allclose(result.history["objective"][:, start], expected, rtol=1e-12)


def test_continuation_ends_at_the_problems_own_temperature():
    problem = one_state_problem()
    result = sb.minimize(
        problem,
        jnp.array(0.0),
        optimizer=optax.adam(0.1),
        num_steps=400,
        continuation=sb.GeometricContinuation(factor=8.0, cooling_steps=100),
    )
    factors = result.history["temperature_factor"]
    assert factors[0] == 8.0
    np.testing.assert_allclose(factors[50], np.sqrt(8.0))
    assert (factors[100:] == 1.0).all()
    np.testing.assert_allclose(result.x, OPTIMUM, rtol=1e-4)
    np.testing.assert_allclose(result.objective, problem.value(jnp.asarray(result.x)), atol=1e-15)


def test_starts_drawn_from_a_function_are_reproducible():
    def run(seed):
        return sb.minimize(
            one_state_problem(),
            lambda key: jax.random.normal(key, ()),
            num_steps=3,
            starts=4,
            key=seed,
        )

    first, again, other = run(1), run(1), run(2)
    np.testing.assert_array_equal(first.history["objective"], again.history["objective"])
    assert (first.start_x != other.start_x).all()


def test_early_stop():
    result = sb.minimize(
        one_state_problem(),
        jnp.array(0.0),
        optimizer=optax.adam(0.1),
        num_steps=5000,
        tolerance=1e-3,
        early_stop=True,
    )
    assert result.steps < 5000
    assert result.converged


def test_one_trace_for_all_runs_of_a_problem():
    traces = []
    problem = one_state_problem()

    def follower(x):
        traces.append(None)
        return problem.follower(x)

    counted = sb.BilevelProblem(follower, problem.objective)
    sb.minimize(counted, jnp.array(0.0), num_steps=2, chunk_size=1)
    first = len(traces)
    sb.minimize(counted, jnp.array(1.0), num_steps=2, chunk_size=1)
    again = len(traces) - first  # the eager check of problem and method
    sb.minimize(counted, jnp.array(0.0), num_steps=60, chunk_size=1)
    assert len(traces) - first == 2 * again < first


def test_pytrees_of_leader_parameters():
    base = one_state_problem()
    problem = sb.BilevelProblem(
        lambda x: base.follower(x["a"] + x["b"][0]), lambda x, y: base.objective(x, y)
    )
    x0 = {"a": jnp.array(0.0), "b": jnp.zeros(1)}
    result = sb.minimize(problem, x0, optimizer=optax.adam(0.1))
    np.testing.assert_allclose(result.x["a"] + result.x["b"][0], OPTIMUM, rtol=1e-5)


def test_an_estimated_objective_picks_no_winner():
    """M-SoBiRL's first objective, at the uniform policy, is far from φ: the last x stands."""
    problem = one_state_problem(target=0.5)
    result = sb.minimize(problem, jnp.array(2.0), sb.MSoBiRL(), optax.sgd(0.05), num_steps=30)
    assert result.history["objective"][0] > 0.1
    np.testing.assert_array_equal(result.x, result.final_x)
    np.testing.assert_allclose(result.objective, problem.value(jnp.asarray(result.x)), rtol=1e-3)


def test_early_stop_waits_for_the_problems_own_temperature():
    result = sb.minimize(
        one_state_problem(),
        jnp.array(0.0),
        num_steps=300,
        continuation=sb.GeometricContinuation(10.0, 50),
        tolerance=1e3,
        early_stop=True,
        chunk_size=1,
    )
    assert result.steps == 51
    assert np.isfinite(result.objective)


def test_an_infinite_objective_wins_nothing():
    base = one_state_problem()
    problem = sb.BilevelProblem(base.follower, lambda x, response: jnp.log(jnp.abs(x)))
    result = sb.minimize(problem, jnp.array([0.0, 1.0]), starts=2, num_steps=3)
    assert result.best_start == 1
    assert np.isfinite(result.objective)


def plain_sweeps():
    """A problem whose discount is a table: value iteration cannot extrapolate."""
    base = one_state_problem()

    def follower(x):
        mdp = base.follower(x)
        return eqx.tree_at(lambda m: m.discount, mdp, jnp.full(mdp.shape, mdp.discount))

    return sb.BilevelProblem(follower, base.objective)


def test_missed_tolerances_warn():
    method = sb.Exact(sb.ValueIteration(max_steps=2))
    with pytest.warns(RuntimeWarning, match="Raise `max_steps`"):
        result = sb.minimize(plain_sweeps(), jnp.array(0.0), method, num_steps=2)
    assert result.status is sb.Status.STEP_LIMIT
    assert "Raise `max_steps`" in str(result)


def test_prints_in_one_line():
    result = sb.minimize(one_state_problem(), jnp.array(0.0), num_steps=2)
    assert str(result).startswith("objective ")
    assert "\n" not in str(result)
    assert not result.converged
    assert "take more steps" in result.advice
    assert str(result).endswith(result.advice)


def test_optimizers_by_name_and_steps_as_people_write_them():
    problem, x0 = one_state_problem(), jnp.array(0.0)
    named = sb.minimize(problem, x0, optimizer="adam", num_steps=2e1)
    given = sb.minimize(problem, x0, optimizer=optax.adam(1e-2), num_steps=20)
    assert named.steps == 20
    np.testing.assert_array_equal(named.history["objective"], given.history["objective"])
    sized = sb.minimize(
        problem, x0, optimizer="sgd", learning_rates=jnp.array([0.3]), num_steps=np.int64(20)
    )
    given = sb.minimize(problem, x0, optimizer=optax.sgd(0.3), num_steps=20)
    np.testing.assert_allclose(
        sized.history["objective"].ravel(), given.history["objective"], rtol=1e-12
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"continuation": sb.GeometricContinuation(0.5)}, "factor must be at least 1, got 0.5"),
        (
            {"continuation": sb.GeometricContinuation(2.0, 2)},
            "must end before the last of the 2 steps",
        ),
        ({"continuation": sb.GeometricContinuation(np.ones(3))}, r"one a start, \(1,\); got"),
        ({"tolerance": np.nan}, "tolerance: must not be negative, got nan"),
        ({"x0": jnp.array(np.nan)}, "x0: must be finite"),
        ({"num_steps": 0}, "num_steps: must be at least 1"),
        ({"num_steps": 2.5}, "num_steps: must be a whole number, got 2.5"),
        ({"num_steps": np.nan}, "num_steps: must be at least 1, got nan"),
        ({"num_steps": np.inf}, r"num_steps: must be below 2\^31, got inf"),
        ({"optimizer": "adm"}, r"optimizer: 'adm' is none \(did you mean 'adam'\?\); the names"),
        ({"optimizer": "lbfgs"}, "optimizer: 'lbfgs' is none; the names are adabelief, "),
        ({"starts": 0}, "starts: must be at least 1"),
        ({"starts": 3}, "x0: with starts=3 every array needs a leading axis of 3"),
        ({"x0": jnp.array(1)}, "x0: expected floating-point arrays, got int"),
        ({"optimizer": optax.sgd}, "learning_rates: give one a start"),
        (
            {"learning_rates": jnp.ones(1), "optimizer": optax.sgd(0.1)},
            "learning_rates: give one a start",
        ),
        (
            {"learning_rates": jnp.ones(2)},
            r"expected one number or one a start, \(1,\); got shape \(2,",
        ),
    ],
)
def test_bad_arguments(changes, message):
    arguments = {"x0": jnp.array(0.0), "num_steps": 2} | changes
    with pytest.raises(sb.InvalidInputError, match=message):
        sb.minimize(one_state_problem(), **arguments)


def test_a_limit_of_time(tmp_path):
    """The run ends at the first look at the clock; it has ended for good."""
    problem, x0 = one_state_problem(), jnp.array(0.0)
    options = {"num_steps": 100, "chunk_size": 3}
    path = tmp_path / "run.npz"
    result = sb.minimize(problem, x0, recorder=sb.Checkpoint(path, time_limit=0.0), **options)
    assert result.steps == 1 and not result.interrupted
    again = sb.minimize(problem, x0, recorder=sb.Checkpoint(path, time_limit=0.0), **options)
    assert again.steps == 1 and again.final_x == result.final_x
    whole = sb.minimize(problem, x0, recorder=sb.Checkpoint(path, time_limit=1e9), **options)
    assert whole.steps == 100
    np.testing.assert_array_equal(
        whole.history["objective"], sb.minimize(problem, x0, **options).history["objective"]
    )


class CtrlC:
    """A recorder that presses Ctrl-C after some steps."""

    def __init__(self, after):
        self.after, self.saves = after, 0

    def restore(self, like):
        return None

    def record(self, state, rows, seconds):
        if state.step >= self.after:
            signal.raise_signal(signal.SIGINT)

    def save(self):
        self.saves += 1


def test_ctrl_c_keeps_what_was_done(monkeypatch):
    def show(done, state):
        if done >= 6:
            signal.raise_signal(signal.SIGINT)

    bar = contextlib.nullcontext(show)
    monkeypatch.setattr(driver, "progress_bar", lambda wanted, label, total: bar)
    result = sb.minimize(one_state_problem(), jnp.array(0.0), num_steps=100, chunk_size=3)
    whole = sb.minimize(one_state_problem(), jnp.array(0.0), num_steps=result.steps)
    assert result.interrupted
    assert 6 <= result.steps < 9  # the end of the chunk in which it was pressed
    np.testing.assert_array_equal(result.history["objective"], whole.history["objective"])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_sigterm_ends_a_run_as_ctrl_c_does_where_it_is_asked_for():
    with termination_as_interrupt(), deferred_interrupt() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.requested
    with pytest.raises(KeyboardInterrupt), termination_as_interrupt():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_of_the_users_own_is_left_alone():
    received = []
    signal.signal(signal.SIGTERM, lambda *_: received.append(True))
    try:
        with termination_as_interrupt(), deferred_interrupt() as interrupt:
            signal.raise_signal(signal.SIGTERM)
        assert received == [True]
        assert not interrupt.requested
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_ctrl_c_with_a_recorder_saves_and_raises():
    recorder = CtrlC(after=6)
    with pytest.raises(KeyboardInterrupt):
        sb.minimize(
            one_state_problem(), jnp.array(0.0), num_steps=100, chunk_size=3, recorder=recorder
        )
    assert recorder.saves == 1


def test_a_second_ctrl_c_does_not_wait():
    with pytest.raises(KeyboardInterrupt), deferred_interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.requested
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_chunks_do_not_depend_on_the_clock(monkeypatch):
    """Slow steps make for short chunks; where an early stop ends is the same."""
    arguments = {"optimizer": optax.adam(0.1), "num_steps": 500, "tolerance": 1e-2}
    arguments |= {"early_stop": True, "chunk_size": 10}
    whole = sb.minimize(one_state_problem(), jnp.array(0.0), **arguments)
    monkeypatch.setattr(driver, "_CHUNK_SECONDS", 0.0)  # one step a chunk
    slow = sb.minimize(one_state_problem(), jnp.array(0.0), **arguments)
    assert whole.steps == slow.steps < 500
    np.testing.assert_array_equal(whole.history["objective"], slow.history["objective"])
