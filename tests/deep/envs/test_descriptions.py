"""Fragments in words."""

import numpy as np

from sobirl.deep.envs import Discrete, EnvSpec
from sobirl.deep.envs.descriptions import description


def described(name, frames):
    return description(frames, EnvSpec(name, frames.shape[1:], frames.dtype, Discrete(2), "gymnax"))


def test_numbers_have_beginning_end_and_range():
    frames = np.array([[0.1, 1], [-0.52, 1], [0.3, 1]], np.float32)
    words = described("MountainCar-v0", frames)
    assert words.startswith("position from 0.1 to 0.3, between -0.52 and 0.3; speed from 1 to 1")
    assert "number 2 from 1 to 1" in described("Unknown-v0", frames)
    assert described("Unknown-v0", np.zeros((3, 20), np.float32)).count(";") == 7


def test_states_and_boards():
    way = np.eye(16, dtype=np.float32)[[0, 0, 1, 5, 5]]
    assert described("FrozenLake-v1", way) == "states 0, 1, 5; at the end 5"
    board = np.zeros((2, 10, 10, 4), np.float32)
    board[0, 9, 3, 0] = board[1, 9, 5, 0] = 1
    board[:, :2, :, 3] = 1  # a wall has no place
    assert (
        described("Breakout-MinAtar", board) == "thing 1 from row 10, column 4 to row 10, column 6"
    )
    assert described("ALE/Pong-v5", np.zeros((3, 84, 84), np.uint8)) == ""
