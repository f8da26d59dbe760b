"""Pictures of environments in JAX, and films of a policy."""

import io

import jax
import numpy as np
import pytest
from PIL import Image

from probes import better_action, loop_of
from sobirl.core.errors import InvalidInputError
from sobirl.deep import envs
from sobirl.deep.discrete_sac import DiscreteSAC
from sobirl.deep.envs.pictures import Stage
from sobirl.deep.film import film, webp

KEY = jax.random.key(0)


def test_a_board():
    stage = Stage(envs.make("Breakout-MinAtar", 3))
    board = stage.reset(seed=1)[0]
    picture = stage.render_frame()
    assert picture.shape == (160, 160, 3) and stage.frames_per_second == 10
    cells = picture[::16, ::16]
    np.testing.assert_array_equal(picture, cells.repeat(16, axis=0).repeat(16, axis=1))
    # A cell is dark where nothing is, and things of one kind look alike.
    empty = ~board.any(axis=-1)
    assert (cells[empty] == cells[empty][0]).all()
    bricks = (board[..., 3] == 1) & ~board[..., :3].any(axis=-1)
    assert (cells[bricks] == cells[bricks][0]).all()
    assert len(np.unique(cells.reshape(-1, 3), axis=0)) > 2
    stage.step(np.zeros(1, np.int32))
    assert (stage.render_frame() != picture).any()


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_classic_control_is_drawn_by_gymnasium(name):
    stage = Stage(envs.make(name, 2))
    stage.reset(seed=0)
    first = stage.render_frame()
    assert first.shape[0] >= 400 and len(np.unique(first.reshape(-1, 3), axis=0)) > 2
    for _ in range(8):
        stage.step(np.ones((1, *stage.spec.actions.shape), stage.spec.actions.dtype))
    assert (stage.render_frame() != first).any()
    # The same state is the same picture.
    stage.reset(seed=0)
    np.testing.assert_array_equal(stage.render_frame(), first)


def test_what_cannot_be_drawn():
    with pytest.raises(InvalidInputError, match="probe: there is no way to draw it"):
        Stage(loop_of(better_action()).environments)


def test_a_film_ends_with_its_episode_and_loses_no_pixel():
    follower = DiscreteSAC((10, 10, 4), num_actions=3, widths=(4,))
    state = follower.init(KEY)
    stage = Stage(envs.make("Breakout-MinAtar", 1))
    episode = film(stage, follower, state, KEY, 200)
    pictures, steps = episode.pictures, len(episode.reward)
    assert len(pictures) == steps + 1 == len(episode.action) + 1
    assert episode.observation.shape == (steps, 10, 10, 4)
    assert 5 < len(pictures) < 201  # a beginner loses the ball
    assert len(film(stage, follower, state, KEY, 3, greedy=True).pictures) == 4
    clip = Image.open(io.BytesIO(webp(pictures, 10)))
    assert clip.format == "WEBP" and clip.n_frames <= len(pictures)  # equal ones are joined
    np.testing.assert_array_equal(clip.convert("RGB"), pictures[0])
    clip.seek(clip.n_frames - 1)
    np.testing.assert_array_equal(clip.convert("RGB"), pictures[-1])


def test_no_pictures():
    with pytest.raises(InvalidInputError, match="pictures: there are none"):
        webp([], 10)
