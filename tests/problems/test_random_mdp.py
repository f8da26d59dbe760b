"""The synthetic problems: their constants, and instance files good and bad."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from instances import INSTANCE
from sobirl.problems.random_mdp import RandomMDP, TargetPolicy


def test_optimum_of_the_papers_problem():
    problem = RandomMDP.generate(10, 5, 100, seed=0).problem()
    value, gradient = jax.value_and_grad(problem.value)(jnp.zeros(100))
    np.testing.assert_allclose(value, 10 / (2 * 5), rtol=1e-12)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


def test_transitions_have_the_stated_support():
    transition = RandomMDP.generate(8, 3, 4, seed=1).transition
    support = (transition > 0).sum(-1)
    assert support.min() >= 1
    assert support.max() <= 7
    np.testing.assert_allclose(transition.sum(-1), 1)


def test_harder_variant():
    instance = TargetPolicy.generate(seed=0)
    problem = instance.problem()
    assert instance.transition.shape == (100, 5, 100)
    x0 = jnp.asarray(instance.x0)
    assert jnp.linalg.norm(jax.grad(problem.value)(x0)) > 1
    assert instance.x0.size < 100 * (5 - 1)  # fewer leader parameters than free policy entries
    assert sb.check_gradients(problem, x0, directions=2).ok


def save(path, **changes):
    with np.load(INSTANCE) as file:
        arrays = {name: file[name] for name in file}
    arrays.update(changes)
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mat": None}, "has no array named mat"),
        ({"mat": np.eye(3)}, r"mat should have shape \(100, 100\), has \(3, 3\)"),
        ({"x0": np.array(["a"] * 100)}, "x0 must be finite real numbers"),
        ({"w0": np.full(10, np.nan)}, "w0 must be finite real numbers"),
        ({"gamma": np.array(1.0)}, r"gamma must lie in \[0, 1\)"),
        ({"tau": np.array(0.0)}, "tau, beta, zeta, n_inner must be positive"),
        ({"transition": np.zeros((10, 5, 10))}, r"each row P\[s, a, :\] must sum to 1"),
        ({"reward_coef": np.ones(10)}, "transition should have shape"),
        ({"x0": np.array([None] * 100)}, "holds Python objects"),
    ],
)
def test_bad_instances(tmp_path, changes, message):
    path = save(tmp_path / "bad.npz", **changes)
    with pytest.raises(sb.InvalidInputError, match=message):
        RandomMDP.load(path)


def test_files_that_are_no_instances(tmp_path):
    missing, text, single, empty, truncated = (
        tmp_path / name for name in ("none.npz", "text.npz", "one.npy", "empty.npz", "cut.npz")
    )
    text.write_text("no arrays here")
    np.save(single, np.zeros(3))
    empty.write_bytes(b"")
    truncated.write_bytes(INSTANCE.read_bytes()[:5000])
    for path, message in (
        (missing, "no such file"),
        (text, "not an .npz"),
        (single, "holds a single array"),
        (empty, "not a readable .npz"),
        (truncated, "not a readable .npz"),
        (tmp_path, "not a readable .npz"),
    ):
        with pytest.raises(sb.InvalidInputError, match=message):
            RandomMDP.load(path)
