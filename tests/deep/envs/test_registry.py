"""Names, specifications, and what is loaded when."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from sobirl.core import InvalidInputError
from sobirl.deep import envs
from sobirl.deep.envs import Continuous, Discrete, EnvSpec


@pytest.mark.parametrize(
    "name, backend",
    [
        ("ALE/BeamRider-v5", "atari"),
        ("CartPole-v1", "gymnax"),
        ("Breakout-MinAtar", "gymnax"),
        ("DeepSea-bsuite", "gymnax"),
        ("HalfCheetah-v5", "gymnasium"),
        ("CartPole-v0", "gymnasium"),
    ],
)
def test_default_backend(name, backend):
    assert envs.default_backend(name) == backend


def test_unknown_backend():
    with pytest.raises(InvalidInputError, match="no 'gym'; choose from atari, gymnasium, gymnax"):
        envs.make("CartPole-v1", 1, backend="gym")


@pytest.mark.parametrize(
    "package, module, name, extra",
    [
        ("gymnax", "gymnax_envs", "CartPole-v1", "envs"),
        ("gymnasium", "gymnasium_envs", "HalfCheetah-v5", "envs"),
        ("ale_py", "atari", "ALE/BeamRider-v5", "atari"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, package, module, name, extra):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"sobirl.deep.envs.{module}", raising=False)
    with pytest.raises(InvalidInputError, match=rf"pip install 'sobirl\[{extra}\]'") as raised:
        envs.make(name, 1)
    assert package in str(raised.value)


def test_the_package_loads_no_back_end():
    code = (
        "import sys, sobirl.deep.envs\n"
        "print({'gymnasium', 'gymnax', 'ale_py', 'mujoco'} & sys.modules.keys())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_continuous_actions_are_compared_by_their_bounds():
    actions = Continuous(np.array([-1.0, -2.0]), [1, 2])
    assert actions.low.dtype == actions.high.dtype == np.float32
    assert actions == Continuous([-1, -2], [1, 2]) != Continuous([-1, -2], [1, 3])
    assert hash(actions) == hash(Continuous([-1, -2], [1, 2]))
    assert actions != Discrete(2)
    with pytest.raises(ValueError, match="read-only"):
        actions.low[0] = 0


def test_samples_are_uniform_over_the_actions():
    drawn = np.asarray(Discrete(3).sample(jax.random.key(0), 3000))
    assert drawn.dtype == np.int32 and set(drawn) == {0, 1, 2}
    np.testing.assert_allclose(np.bincount(drawn) / 3000, 1 / 3, atol=0.04)
    drawn = np.asarray(Continuous([-1, 2], [1, 6]).sample(jax.random.key(0), 3000))
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn.mean(axis=0), [0, 4], atol=0.1)
    np.testing.assert_allclose([drawn.min(axis=0), drawn.max(axis=0)], [[-1, 2], [1, 6]], atol=0.01)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Discrete(0), "num: must be at least 1, got 0"),
        (lambda: Continuous([-np.inf], [1]), "low: actions must have finite bounds, got -inf"),
        (lambda: Continuous([-1, 0], [1]), r"high: expected shape \(2,\), got \(1,\)"),
        (lambda: Continuous([-1, 0], [1, 0]), r"high: must be above low, got 0.0 at index \[1\]"),
        (
            lambda: EnvSpec("a", (1,), np.dtype(np.float64), Discrete(2), "test"),
            "observation_dtype: must be float32 or uint8, got float64",
        ),
        (
            lambda: EnvSpec("a", (1,), np.dtype(np.uint8), Discrete(2), "test", frame_stack=0),
            "frame_stack: must be at least 1, got 0",
        ),
    ],
)
def test_unusable_specifications(make, message):
    with pytest.raises(InvalidInputError, match=message):
        make()
