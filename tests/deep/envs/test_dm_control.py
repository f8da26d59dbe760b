"""The DeepMind Control Suite through Gymnasium: vectors, rewards within 0 and 1, time limits."""

import importlib.util

import numpy as np
import pytest

from sobirl.core import InvalidInputError
from sobirl.deep import envs
from sobirl.deep.envs import dm_control_suite

WALKER = "dm_control/walker-walk-v0"
installed = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("dm_control", "shimmy"))),
    reason="sobirl[dmc] is not installed",
)


@installed
def test_the_walker_is_a_vector_whose_episodes_are_cut_off():
    environments = envs.make(WALKER, 2, max_episode_steps=3)
    spec = environments.spec
    # 14 orientations, a height, 9 velocities; 6 joints.
    assert (spec.observation_shape, spec.observation_dtype) == ((24,), np.float32)
    np.testing.assert_array_equal(spec.actions.high, np.ones(6))
    assert (spec.max_episode_steps, spec.backend) == (3, "gymnasium")
    first = environments.reset(3)
    assert np.isfinite(first).all() and (first[0] != first[1]).any()
    steps = [environments.step(np.full((2, 6), 0.5, np.float32)) for _ in range(4)]
    assert all(((step.reward >= 0) & (step.reward <= 1)).all() for step in steps)
    assert [step.truncated.tolist() for step in steps] == [[t == 2] * 2 for t in range(4)]
    assert not any(step.terminated.any() for step in steps)
    # The call after the last step begins a new episode; the same seed begins the same one.
    np.testing.assert_array_equal(environments.reset(3), first)
    assert not environments.can_restore
    environments.close()


@installed
def test_unknown_tasks_are_told():
    with pytest.raises(InvalidInputError, match="walker-walk-v0"):
        envs.make("dm_control/walker-wlak-v0", 1)


def test_missing_packages_are_told(monkeypatch):
    monkeypatch.setattr(dm_control_suite, "_PACKAGES", ("not_a_package_of_anyone",))
    with pytest.raises(InvalidInputError, match=r"not_a_package_of_anyone.*sobirl\[dmc\]"):
        envs.make(WALKER, 1)
