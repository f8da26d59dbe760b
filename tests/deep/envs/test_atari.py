"""What is particular to Atari: single frames, lives, and the camera."""

import ale_py.vector_env
import numpy as np
import pytest

from sobirl.core import InvalidInputError
from sobirl.deep import envs
from sobirl.deep.envs import Step


@pytest.fixture(scope="module")
def games():
    """Two games of Breakout that end episodes with lives, and a camera on the first."""
    with envs.make(
        "ALE/Breakout-v5",
        2,
        episodic_life=True,
        max_episode_steps=150,
        num_threads=1,
        render_mode="rgb_array",
    ) as made:
        yield made


def test_settings(games):
    spec = games.spec
    assert (spec.frame_stack, spec.max_episode_steps, spec.backend) == (4, 150, "atari")
    assert not games.can_restore
    with pytest.raises(InvalidInputError, match="cannot be saved and restored"):
        games.get_state()


def test_frames_are_those_of_a_stack_and_lives_end_episodes(games):
    """Beside emulators that stack, and that begin anew only where a game ends."""
    stacked = ale_py.vector_env.AtariVectorEnv(
        "breakout", 2, num_threads=1, max_num_frames_per_episode=600, reward_clipping=False
    )
    seeds = np.random.SeedSequence(0).generate_state(2) >> 1
    stack, info = stacked.reset(seed=seeds.astype(np.int32))
    frames = [np.zeros((2, 84, 84), np.uint8)] * 2 + [games.reset(0)]
    np.testing.assert_array_equal(frames[-1], stack[:, 3])
    lives, age, ended, game_ended = info["lives"], np.ones(2, int), np.zeros(2, bool), False
    lost, overs, cuts, score = 0, 0, 0, 0
    for action in np.random.default_rng(0).integers(0, 4, (320, 2)):
        step = games.step(action)
        stack, reward, over, cut, info = stacked.step(np.where(ended, 1, action))  # 1 is FIRE
        age = np.where(game_ended, 1, age + 1)
        frames.append(step.observation)
        np.testing.assert_array_equal(frames[-1], stack[:, 3])
        full = age >= 4
        np.testing.assert_array_equal(np.stack(frames[-4:], axis=1)[full], stack[full])
        np.testing.assert_array_equal(step.reward, np.where(ended, 0, reward))
        np.testing.assert_array_equal(step.terminated, (info["lives"] < lives) | over)
        np.testing.assert_array_equal(step.truncated, cut)
        lives, ended, game_ended = info["lives"], step.terminated | step.truncated, over | cut
        lost, overs, cuts = lost + ended.sum(), overs + over.sum(), cuts + cut.sum()
        score += step.reward.sum()
    assert lost > overs + cuts and overs >= 1 and cuts >= 1 and score >= 1
    stacked.close()


def test_an_episode_of_no_steps():
    """The time limit is reached in the very call that begins a life."""

    def ends(limit, num_steps):
        options = {"episodic_life": True, "max_episode_steps": limit, "num_threads": 1}
        with envs.make("ALE/Breakout-v5", 1, **options) as game:
            game.reset(0)
            steps = [game.step(np.zeros(1, int)) for _ in range(num_steps)]
            return ([int(getattr(step, name)[0]) for step in steps] for name in Step._fields[2:4])

    terminated, _ = ends(100, 40)
    death = terminated.index(1)
    terminated, truncated = ends(death + 2, death + 4)
    assert terminated == [*[0] * death, 1, 0, 0, 0]
    assert truncated == [*[0] * death, 0, 1, 0, 0]


def test_the_camera_shows_game_0(games):
    games.reset(0)
    for action in np.random.default_rng(0).integers(0, 4, (40, 2)):
        step = games.step(action)
    picture = games.render_frame()
    assert picture.shape == (210, 160, 3) and picture.dtype == np.uint8
    # The camera plays the same game: where the small gray frame has its paddle, so has the picture.
    gray = picture @ np.array([0.299, 0.587, 0.114])
    paddle = slice(190, 192)
    columns = np.interp(np.arange(84) * 160 / 84, np.arange(160), gray[paddle].mean(axis=0))
    small = step.observation[:, 76].astype(float)
    assert np.corrcoef(columns, small[0])[0, 1] > 0.9
    assert np.corrcoef(columns, small[1])[0, 1] < 0.9


def test_smaller_screens():
    """The same game on fewer pixels."""
    with envs.make("ALE/Breakout-v5", 1, screen=48, num_threads=1) as small:
        assert small.spec.observation_shape == (48, 48)
        with envs.make("ALE/Breakout-v5", 1, num_threads=1) as usual:
            frames, usual_frames = small.reset(0), usual.reset(0)
    np.testing.assert_allclose(frames.mean(), usual_frames.mean(), rtol=0.02)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("ALE/BeamRaider-v5", {}, "closest names are ALE/BeamRider-v5"),
        ("ALE/Pong-v5", {"num_envs": 0}, "num_envs: must be at least 1"),
        ("ALE/Pong-v5", {"num_threads": -1}, "num_threads: must not be negative"),
        ("ALE/Pong-v5", {"repeat_action_probability": 2.0}, "must lie between 0 and 1, got 2"),
        ("ALE/Pong-v5", {"max_episode_steps": 0}, "max_episode_steps: must be at least 1"),
        ("ALE/Pong-v5", {"screen": 20}, "screen: must be at least 36, got 20"),
        ("ALE/Pong-v5", {"render_mode": "human"}, "must be 'rgb_array' or None, got 'human'"),
        ("ALE/Pong-v5", {"clip": True}, "options: the back end atari got an unexpected"),
    ],
)
def test_errors(name, options, message):
    with pytest.raises(InvalidInputError, match=message):
        envs.make(name, **{"num_envs": 1, **options})
