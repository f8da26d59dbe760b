"""Several descents in one program find what each finds alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sobirl as sb
from sobirl.bilevel.batch import Descent, UnlikeError, minimize_batch
from sobirl.problems.random_incentives import RandomIncentives

EXACT = sb.Exact()
STEPS = 30


def descent(seed, **changes):
    instance = RandomIncentives.generate(4, 2, 3, seed=seed)
    arguments = {
        "problem": instance.problem(),
        "x0": instance.x0(),
        "method": EXACT,
        "optimizer": optax.adam,
        "learning_rate": 0.02 * (1 + seed),
        "num_steps": STEPS,
        "key": seed,
        "tolerance": 1e-6,
    }
    return Descent(**(arguments | changes))


def assert_same(result, alone):
    """Solvers stop at the same step in a batch as alone; the rest is rounding."""
    for field in ("x", "final_x", "start_x", "history"):
        a, b = getattr(result, field), getattr(alone, field)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-10), a, b)
        assert jax.tree.map(np.shape, a) == jax.tree.map(np.shape, b)
    for field in ("steps", "converged", "status", "best_start", "advice", "interrupted"):
        assert getattr(result, field) == getattr(alone, field)


@pytest.fixture(scope="module")
def alone():
    return [descent(seed).minimize(progress=False) for seed in range(3)]


def test_a_batch_finds_what_each_finds_alone(alone):
    """Other problems, keys and step sizes side by side."""
    results = minimize_batch([descent(seed) for seed in range(3)])
    for result, one in zip(results, alone, strict=True):
        assert_same(result, one)
    assert len({float(result.objective) for result in results}) == 3


@pytest.mark.slow  # the exact method is above
def test_a_method_that_samples_has_the_same_samples():
    method = sb.SoBiRL(num_tuples=16)
    descents = [
        descent(seed, method=method, num_steps=5, problem=_with_loss(seed), x0=jnp.zeros(3))
        for seed in range(2)
    ]
    for result, one in zip(minimize_batch(descents), descents, strict=True):
        assert_same(result, one.minimize(progress=False))


def _with_loss(seed):
    from sobirl.problems.preferences import Preferences

    return Preferences.generate(4, 2, 3, seed=seed).problem()


class Stopping(sb.Checkpoint):
    """Ctrl-C after ten steps."""

    def record(self, state, rows, seconds):
        super().record(state, rows, seconds)
        if state.step >= 10:
            self.save()
            raise KeyboardInterrupt


def test_what_a_batch_leaves_goes_on_alone(alone, tmp_path):
    """Each recorder has the checkpoint of an ordinary run."""
    paths = [tmp_path / f"{seed}.npz" for seed in range(3)]
    recorders = [Stopping(paths[0]), sb.Checkpoint(paths[1], seconds=0), None]
    with pytest.raises(KeyboardInterrupt):
        minimize_batch([descent(seed) for seed in range(3)], [recorders[1], recorders[0], None])
    for seed, path in ((0, paths[1]), (1, paths[0])):
        result = descent(seed).minimize(progress=False, recorder=sb.Checkpoint(path))
        assert_same(result, alone[seed])
    with pytest.raises(UnlikeError, match="recorders: one has a descent that has begun"):
        minimize_batch([descent(0)], [sb.Checkpoint(paths[1])])


def _of_closures(seed):
    instance = RandomIncentives.generate(4, 2, 3, seed=seed)
    return sb.BilevelProblem(
        lambda x: instance.follower(x), lambda x, response: jnp.sum(response.policy[:, 0])
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"num_steps": STEPS + 1},
        {"optimizer": optax.sgd},
        {"method": sb.Exact(rtol=1e-6)},
        {"problem": RandomIncentives.generate(5, 2, 3, seed=1).problem()},
    ],
)
def test_what_is_not_alike_is_refused(changes):
    with pytest.raises(UnlikeError, match="descents: "):
        minimize_batch([descent(0), descent(1, **changes)])


def test_closures_are_only_like_themselves():
    with pytest.raises(UnlikeError, match="differ in more than the numbers"):
        minimize_batch([descent(seed, problem=_of_closures(seed)) for seed in range(2)])
