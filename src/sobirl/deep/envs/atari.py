"""Atari games with the usual preprocessing, stepped by several threads."""

from typing import Any

import ale_py
import gymnasium
import numpy as np
from ale_py.vector_env import AtariVectorEnv

from sobirl.core.checks import check_number
from sobirl.core.errors import InvalidInputError
from sobirl.deep.envs.host import HostEnvironments
from sobirl.deep.envs.names import unknown_name
from sobirl.deep.envs.spec import Discrete, EnvSpec

_FRAME_SKIP = 4
_LEAST = 36  # pixels that the usual networks' convolutions need
_SCREEN = {"img_height": 210, "img_width": 160, "grayscale": False}


class AtariEnvironments(HostEnvironments):
    """N copies of an Atari game, see `make`."""

    def __init__(
        self,
        vector_env: AtariVectorEnv,
        spec: EnvSpec,
        use_fire_reset: bool = True,
        camera: AtariVectorEnv | None = None,
    ):
        super().__init__(vector_env, spec)
        self._camera = camera
        vector_env.render_mode = "rgb_array" if camera is not None else None
        buttons = list(vector_env.ale.get_action_set())
        fire = use_fire_reset and ale_py.Action.FIRE in buttons
        self._opening = buttons.index(ale_py.Action.FIRE) if fire else 0

    @property
    def frames_per_second(self) -> int:
        """The console has 60 frames a second."""
        return 60 // _FRAME_SKIP

    def close(self) -> None:
        """End the games and their threads."""
        super().close()
        games: Any = self.vector_env
        self._camera = games.ale = None  # the threads end with their emulators

    def _reset(self, seeds):
        if self._camera is not None:
            self._screen, _ = self._camera.reset(seed=seeds[:1])
        return self.vector_env.reset(seed=seeds)

    def _step(self, action):
        ended = self._ended
        assert ended is not None  # `step` has checked that an episode has begun
        # Where the game itself has ended the action is ignored; where only a life was lost, the
        # emulator has no way to stand still, and this is the call that begins the next life.
        action = np.where(ended, self._opening, action)
        if self._camera is not None:
            self._screen, *_ = self._camera.step(action[:1])
        observation, reward, terminated, truncated, info = self.vector_env.step(action)
        reward = np.where(ended, 0, reward)
        terminated = terminated & ~(ended & (info["lives"] > 0))
        return observation, reward, terminated, truncated, info

    def _frames(self, observation, info):
        return observation[:, 0]

    def _render(self):
        return self._screen[0, 0]


def make(
    name: str,
    num_envs: int,
    *,
    episodic_life: bool = False,
    use_fire_reset: bool = True,
    repeat_action_probability: float = 0.0,
    max_episode_steps: int = 27_000,
    frame_stack: int = 4,
    screen: int = 84,
    num_threads: int = 0,
    render_mode: str | None = None,
) -> AtariEnvironments:
    """Atari games by name, for example `ALE/BeamRider-v5`.

    Observations are single gray frames, of 84 × 84 pixels by default, uint8: an action is repeated
    for 4 frames, of the last two each pixel's brighter value is shown. A game begins with up to 30
    no-ops. Rewards are the game's own points, never clipped.

    Args:
        name: `ALE/` and the name of a game, with `-v5`.
        num_envs: the number of games.
        episodic_life: end an episode (`terminated`) with every life that is lost. The game goes on:
            the step after it plays the opening action of the next life, FIRE or nothing, and its
            reward is dropped. Should the game end in just this step, the step says so, and an
            episode of no steps has passed.
        use_fire_reset: begin games and lives by pressing FIRE, in the games that have it.
        repeat_action_probability: of ignoring the action and repeating the last one ("sticky
            actions"), in every frame. 0 is the paper's setting, 0.25 that of the `-v5` games.
        max_episode_steps: the steps of 4 frames after which a game is truncated; half an hour of
            play by default.
        frame_stack: the number of successive frames that the policy should see.
        screen: height and width of a frame in pixels, at least 36.
        num_threads: of the emulators; 0 for one per core.
        render_mode: "rgb_array" for pictures (210 × 160, in color) of game 0, from one more
            emulator that plays the same.

    Raises:
        InvalidInputError: there is no such game, or an option is out of range.
    """
    for label, number in (("num_envs", num_envs), ("max_episode_steps", max_episode_steps)):
        check_number(label, number, "must be at least 1", lambda n: n >= 1)
    check_number("screen", screen, f"must be at least {_LEAST}", lambda n: n >= _LEAST)
    check_number("num_threads", num_threads, "must not be negative", lambda n: n >= 0)
    check_number(
        "repeat_action_probability",
        repeat_action_probability,
        "must lie between 0 and 1",
        lambda p: 0 <= p <= 1,
    )
    if render_mode not in (None, "rgb_array"):
        raise InvalidInputError(f"render_mode: must be 'rgb_array' or None, got {render_mode!r}")
    games = {known: entry for known, entry in gymnasium.registry.items() if known[:4] == "ALE/"}
    if name not in games:
        raise unknown_name(name, "Atari", games)

    def games_of(count: int, **shown) -> AtariVectorEnv:
        return AtariVectorEnv(
            games[name].kwargs["game"],
            count,
            num_threads=num_threads,
            max_num_frames_per_episode=max_episode_steps * _FRAME_SKIP,
            repeat_action_probability=repeat_action_probability,
            stack_num=1,
            frameskip=_FRAME_SKIP,
            noop_max=30,
            life_loss_info=episodic_life,  # its own episodic_life begins a new game with every life
            reward_clipping=False,
            use_fire_reset=use_fire_reset,
            **shown,
        )

    vector_env: Any = games_of(
        num_envs, img_height=screen, img_width=screen
    )  # whose types say little of its spaces
    spec = EnvSpec(
        name=name,
        observation_shape=vector_env.single_observation_space.shape[1:],
        observation_dtype=np.dtype(np.uint8),
        actions=Discrete(int(vector_env.single_action_space.n)),
        backend="atari",
        frame_stack=frame_stack,
        max_episode_steps=max_episode_steps,
    )
    camera = None if render_mode is None else games_of(1, **_SCREEN)
    return AtariEnvironments(vector_env, spec, use_fire_reset, camera)
