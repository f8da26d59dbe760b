"""What every back end promises: one stream, whatever the environment."""

import numpy as np
import pytest

from sobirl.deep.envs import Continuous, Discrete

LIMIT = 4
CASES = {
    "gymnax CartPole": ("CartPole-v1", "gymnax", {}, (4,), np.float32, Discrete(2)),
    "gymnax Pendulum": ("Pendulum-v1", "gymnax", {}, (3,), np.float32, Continuous([-2], [2])),
    "gymnax Breakout": ("Breakout-MinAtar", "gymnax", {}, (10, 10, 4), np.float32, Discrete(3)),
    "gymnax FrozenLake": ("FrozenLake-misc", "gymnax", {}, (16,), np.float32, Discrete(4)),
    "CartPole": ("CartPole-v1", "gymnasium", {}, (4,), np.float32, Discrete(2)),
    "vector CartPole": (
        "CartPole-v1",
        "gymnasium",
        {"vectorization_mode": "vector_entry_point"},
        (4,),
        np.float32,
        Discrete(2),
    ),
    "Pendulum": ("Pendulum-v1", "gymnasium", {}, (3,), np.float32, Continuous([-2], [2])),
    "FrozenLake": ("FrozenLake-v1", "gymnasium", {}, (16,), np.float32, Discrete(4)),
    "HalfCheetah": (
        "HalfCheetah-v5",
        "gymnasium",
        {},
        (17,),
        np.float32,
        Continuous([-1] * 6, [1] * 6),
    ),
    "BeamRider": (
        "ALE/BeamRider-v5",
        "atari",
        {"num_threads": 1, "episodic_life": True},
        (84, 84),
        np.uint8,
        Discrete(9),
    ),
    "async Pendulum": pytest.param(
        "Pendulum-v1",
        "gymnasium",
        {"vectorization_mode": "async"},
        (3,),
        np.float32,
        Continuous([-2], [2]),
        marks=pytest.mark.slow,
    ),
}
ARGUMENTS = "name, backend, options, shape, dtype, actions"
each_case = pytest.mark.parametrize(ARGUMENTS, CASES.values(), ids=CASES)


@each_case
def test_stream(drive, name, backend, options, shape, dtype, actions):
    environments = drive(name, backend, max_episode_steps=LIMIT, **options)
    spec = environments.spec
    assert (spec.name, spec.backend, spec.max_episode_steps) == (name, backend, LIMIT)
    assert (spec.observation_shape, spec.observation_dtype) == (shape, dtype)
    assert spec.actions == actions

    taken = environments.actions(2 * LIMIT + 2)
    first, steps = environments.stream(3, taken)
    assert first.shape == (2, *shape) and first.dtype == dtype
    assert steps.observation.shape == (len(taken), 2, *shape) and steps.observation.dtype == dtype
    for leaf in (steps.reward, steps.terminated, steps.truncated):
        assert leaf.shape == (len(taken), 2)
    assert steps.reward.dtype == np.float32
    assert steps.terminated.dtype == steps.truncated.dtype == bool

    # Where nothing ended the episode before, the time limit did, and not as a termination.
    whole = ~steps.terminated[:LIMIT].any(axis=0)
    expected = np.isin(np.arange(len(taken)), (LIMIT - 1, 2 * LIMIT))
    again = whole & ~steps.terminated[LIMIT:].any(axis=0)
    assert again.any() and (steps.truncated[:, again] == expected[:, None]).all()
    # The step after an end is none.
    begins = np.roll(steps.terminated | steps.truncated, 1, axis=0)
    begins[0] = False
    assert not (steps.terminated | steps.truncated)[begins].any()
    assert (steps.reward[begins] == 0).all()


@each_case
def test_the_seed_decides_and_the_action_at_a_beginning_does_not(
    drive, name, backend, options, shape, dtype, actions
):
    environments = drive(name, backend, max_episode_steps=LIMIT, **options)
    taken = environments.actions(LIMIT + 4)
    other = taken.copy()
    other[LIMIT] = environments.actions(1, seed=1)
    first, steps = environments.stream(3, taken)
    same_first, same = environments.stream(3, other)
    np.testing.assert_array_equal(first, same_first)
    whole = ~steps.terminated[:LIMIT].any(axis=0)  # for these, step LIMIT is a beginning
    for expected, leaf in zip(steps[:4], same[:4], strict=True):
        np.testing.assert_array_equal(expected[:, whole], leaf[:, whole])
    if "FrozenLake" not in name:  # there every episode begins in the same state
        other_first, _ = environments.stream(4, taken[:1])
        assert not np.array_equal(first, other_first)


@pytest.mark.parametrize("backend", ["gymnax", "gymnasium"])
def test_pendulum_is_truncated_after_200_steps(drive, backend):
    environments = drive("Pendulum-v1", backend)
    _, steps = environments.stream(0, environments.actions(201))
    assert not steps.terminated.any() and not steps.truncated[:199].any()
    assert steps.truncated[199].all() and not steps.truncated[200].any()
    # One step of the pendulum turns it by at most 0.4; a new episode begins anywhere.
    angle = np.arctan2(steps.observation[..., 1], steps.observation[..., 0])
    turn = np.abs((np.diff(angle, axis=0) + np.pi) % (2 * np.pi) - np.pi)
    assert (turn[:199] < 0.41).all() and (turn[199] > 0.41).any()


@pytest.mark.parametrize("backend", ["gymnax", "gymnasium"])
def test_cartpole_ends_by_time_if_it_is_balanced_and_by_itself_if_not(drive, backend):
    environments = drive("CartPole-v1", backend)
    observation = environments.reset(0)
    for step_number in range(1, 502):
        action = (observation @ np.array([0.1, 0.3, 1.0, 0.5]) > 0).astype(np.int32)
        action[0] = 1  # nobody balances the first
        observation, _, terminated, truncated, _ = environments.step(action)
        if terminated[0]:  # the final observation shows why
            assert abs(observation[0, 2]) > 12 * np.pi / 180 and not truncated[0]
            fallen = True
        elif step_number > 20:
            assert fallen
        assert not terminated[1:].any()
        assert truncated[1:].all() == (step_number == 500)
    assert (np.abs(observation[1:]) <= 0.05).all()
