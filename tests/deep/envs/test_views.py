"""Pictures of what was observed: of the same size for all steps, and of the state they are of."""

import gymnasium
import numpy as np
import pytest

from sobirl.deep.envs import Discrete, EnvSpec
from sobirl.deep.envs.views import _POSES, view_of


def drawn(name, fragments, backend="gymnax"):
    shape, dtype = fragments[0].shape[1:], fragments[0].dtype
    spec = EnvSpec(name, shape, np.dtype(dtype), Discrete(2), backend)
    view = view_of(spec)
    pictures = view.draw(fragments)
    assert [len(clip) for clip in pictures] == [len(frames) for frames in fragments]
    assert len({picture.shape for clip in pictures for picture in clip}) == 1
    return view, pictures


def test_a_cart_is_where_the_observation_says():
    left, right = np.zeros((2, 1, 4), np.float32)
    left[0, 0], right[0, 0] = -1.5, 1.5
    view, ((one,), (other,)) = drawn("CartPole-v1", [left, right])
    assert view.frames_per_second == 50
    assert one[260:320, :200].sum() < other[260:320, :200].sum()  # the cart is black
    assert other[260:320, 400:].sum() < one[260:320, 400:].sum()


@pytest.mark.parametrize(
    ("name", "observation"),
    [
        ("Pendulum-v1", [1, 0, 0.5]),
        ("Acrobot-v1", [1, 0, 1, 0, 0, 0]),
        ("MountainCar-v0", [-0.5, 0]),
    ],
)
def test_classic_control(name, observation):
    frames = np.array([observation], np.float32)
    _, ((picture,), _) = drawn(name, [frames, frames])
    assert picture.shape[1] >= 500  # drawn by Gymnasium, not as curves


def test_grid_worlds_are_drawn():
    frames = np.eye(16, dtype=np.float32)[[0, 1, 2]]
    view, (one, _) = drawn("FrozenLake-v1", [frames, frames[:2]], "gymnasium")
    assert view.frames_per_second == 4 and (one[0] != one[1]).any()


def test_screens_and_boards():
    screens = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8)
    _, (clip, _) = drawn("ALE/Some-v5", [screens, screens[:1]], "atari")
    assert (clip[1] == screens[1][..., None]).all()
    board = np.zeros((1, 10, 10, 4), np.float32)
    board[0, 2, 3, 1] = 1
    _, ((picture,), _) = drawn("Breakout-MinAtar", [board, board])
    assert picture.shape == (160, 160, 3) and len(np.unique(picture.reshape(-1, 3), axis=0)) == 2


@pytest.mark.parametrize("size", [1, 2, 5, 20])
def test_curves_where_nothing_better_can_be_had(size):
    draw = np.random.default_rng(0)
    fragments = [draw.normal(size=(n, size)).astype(np.float32) for n in (4, 1)]
    _, (clip, _) = drawn("Unknown-v0", fragments, "gymnasium")
    assert (clip[0] != clip[3]).any()


@pytest.mark.parametrize("body", _POSES)
def test_the_pose_that_an_observation_tells(body):
    environment = gymnasium.make(f"{body}-v5").unwrapped
    environment.reset(seed=0)
    environment.action_space.seed(0)
    for _ in range(20):
        observation, *_ = environment.step(environment.action_space.sample())
    found = _POSES[body](observation, environment.model)
    turns = (found - environment.data.qpos) / (2 * np.pi)
    np.testing.assert_allclose(turns, np.round(turns), rtol=0, atol=1e-12)
