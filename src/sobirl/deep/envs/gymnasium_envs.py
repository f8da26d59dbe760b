"""Environments of Gymnasium: any that is registered, MuJoCo's for example."""

import contextlib
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec as EntryPoint
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import FlattenObservation, TimeLimit
from jaxtyping import Shaped

from sobirl.core.checks import check_number
from sobirl.core.errors import InvalidInputError
from sobirl.deep.envs import dm_control_suite, restore
from sobirl.deep.envs.failures import current_folder, failing_as, import_module_of
from sobirl.deep.envs.host import HostEnvironments
from sobirl.deep.envs.names import unknown_name
from sobirl.deep.envs.spec import Continuous, Discrete, EnvSpec

_HINT = "; Atari games are named like ALE/BeamRider-v5, MinAtar games like Breakout-MinAtar"
# Where wrappers go.
_WHERE = "in the function that you register, or in make(..., wrappers=[...])"


class GymnasiumEnvironments(HostEnvironments):
    """N environments of a Gymnasium vector environment, see `make`.

    Numbered observations (`FrozenLake-v1`, `Taxi-v3`) become one-hot vectors; all others are
    float32, or uint8 where the environment shows images.

    Args:
        vector_env: any Gymnasium vector environment with Box or Discrete observations and actions.
        name: what to call it.
        frame_stack: the number of successive frames that the policy should see.
        max_episode_steps: the environments' time limit.
        can_restore: whether every environment's state is known completely.

    Raises:
        InvalidInputError: the observations or actions are of a kind that cannot be learned from, or
            the vector environment resets at another time than `Step` says.
    """

    def __init__(
        self,
        vector_env: VectorEnv,
        name: str,
        *,
        frame_stack: int = 1,
        max_episode_steps: int | None = None,
        can_restore: bool = False,
    ):
        self._observations = vector_env.single_observation_space
        self._first_action = getattr(vector_env.single_action_space, "start", 0)
        try:
            shape, dtype = _observation(name, self._observations)
            actions = _actions(name, vector_env.single_action_space)
            numbered = isinstance(self._observations, spaces.Discrete)
            limits = frame_stack, max_episode_steps, numbered
            spec = EnvSpec(name, shape, dtype, actions, "gymnasium", *limits)
        except InvalidInputError:
            vector_env.close()
            raise
        super().__init__(vector_env, spec)
        self.can_restore = can_restore

    def get_state(self) -> dict[str, np.ndarray]:
        """See `HostEnvironments.get_state`."""
        if not self.can_restore:
            raise self._not_restorable()
        self._check_begun()
        # pyrefly: ignore[bad-argument-type]  # what can be restored is one
        return restore.save(self.vector_env)

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """See `HostEnvironments.set_state`."""
        if not self.can_restore:
            raise self._not_restorable()
        self.reset(seed=0)
        # pyrefly: ignore[bad-argument-type]  # what can be restored is one
        restore.load(self.vector_env, state)
        self._ended = state["ended"].copy()

    def _step(self, action):
        return super()._step(action + self._first_action)

    def _frames(self, observation, info) -> Shaped[np.ndarray, "N ..."]:
        if isinstance(self._observations, spaces.Discrete):
            numbers = np.arange(self._observations.n) + self._observations.start
            observation = numbers == observation[:, None]
        return super()._frames(observation, info)


def make(
    name: str,
    num_envs: int,
    *,
    vectorization_mode: str = "sync",
    max_episode_steps: int | None = None,
    frame_stack: int = 1,
    render_mode: str | None = None,
    **options: Any,
) -> GymnasiumEnvironments:
    """Environments of Gymnasium by name, for example `HalfCheetah-v5`.

    Args:
        name: a name that Gymnasium has, or `module:name` for one that a module registers or for a
            class or function of its own that makes one. The module is looked for in the current
            folder first, as Python does for a script. What begins with `dm_control/` is of the
            DeepMind Control Suite, its observations one vector.
        num_envs: the number of environments.
        vectorization_mode: "sync" steps them one after another, "async" in a process each (scripts
            then need the guard `if __name__ == "__main__":`), "vector_entry_point" through the
            environment's own vector version, where it has one.
        max_episode_steps: the time limit, in the place of the environment's own.
        frame_stack: the number of successive frames that the policy should see.
        render_mode: "rgb_array" for environments that give pictures (see `render_frame`).
        options: further arguments of the environment, and `wrappers` (see `gymnasium.make_vec`).

    Raises:
        InvalidInputError: there is no such environment, it does not take an option, it needs a
            package that is not installed, or its observations or actions are of a kind that cannot
            be learned from.
        EnvironmentFailedError: the module that registers it, or the environment as it is made,
            raised another exception.
    """
    check_number("num_envs", num_envs, "must be at least 1", lambda n: n >= 1)
    check_number("max_episode_steps", max_episode_steps, "must be at least 1", lambda n: n >= 1)
    if render_mode is not None and sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")  # MuJoCo draws without a display, if told so
    _log_warnings_of_mujoco(name)
    # What is None is not said: environments need not have such arguments.
    limits = {"max_episode_steps": max_episode_steps, "render_mode": render_mode}
    options |= {option: value for option, value in limits.items() if value is not None}
    if name.startswith(dm_control_suite.PREFIX):
        dm_control_suite.register(name)
        options["wrappers"] = [FlattenObservation, *options.get("wrappers", ())]
    with current_folder(), failing_as(name, "__init__"):
        import_module_of(name)
        vector_env = _made(
            name,
            num_envs,
            vectorization_mode=vectorization_mode,
            vector_kwargs=_vector_options(vectorization_mode),
            **options,
        )
    made: Any = vector_env.spec
    return GymnasiumEnvironments(
        vector_env,
        name,
        frame_stack=frame_stack,
        max_episode_steps=made.kwargs.get("max_episode_steps", made.max_episode_steps),
        can_restore=not options.get("wrappers") and restore.restorable(vector_env),
    )


def make_own(
    maker: Callable[[], gymnasium.Env], num_envs: int, max_episode_steps: int | None = None
) -> GymnasiumEnvironments:
    """Environments of a class or function of one's own, stepped one after another.

    Args:
        maker: makes one environment.
        num_envs: the number of environments.
        max_episode_steps: the time limit, if it has none itself.

    Raises:
        InvalidInputError: it makes no environment of Gymnasium's, or one whose observations or
            actions are of a kind that cannot be learned from.
        EnvironmentFailedError: making it raised an exception.
    """
    name = getattr(maker, "__name__", type(maker).__name__)

    def one():
        env: Any = maker()
        if not isinstance(env, gymnasium.Env):
            raise InvalidInputError(
                f"env: must make an environment of Gymnasium's, and {name} makes a "
                f"{type(env).__name__}"
            )
        return env if max_episode_steps is None else TimeLimit(env, max_episode_steps)

    check_number("num_envs", num_envs, "must be at least 1", lambda n: n >= 1)
    if not callable(maker):
        raise InvalidInputError(
            "env: must be a name, a class or function that makes an environment of Gymnasium's, "
            f"or an environment in JAX, got a {name}"
        )
    with failing_as(name, "__init__"):
        vector_env = SyncVectorEnv([one] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP)
    return GymnasiumEnvironments(vector_env, name, max_episode_steps=max_episode_steps)


def _made(name: str, num_envs: int, **options: Any) -> VectorEnv:
    module, _, identifier = name.rpartition(":")
    try:
        return gymnasium.make_vec(_class_of(name) or name, num_envs, **options)
    except gymnasium.error.UnregisteredEnv as error:
        hint = f"; {module} was imported and registers none" if module else _HINT
        raise unknown_name(identifier, "Gymnasium", gymnasium.registry, hint) from error
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise InvalidInputError(
            f"name: {name} needs a package that is not installed: {error} (for MuJoCo "
            "pip install 'sobirl[mujoco]')"
        ) from error
    except (gymnasium.error.Error, TypeError, ValueError) as error:
        raise InvalidInputError(f"options: {name} cannot be made with these: {error}") from error


def _class_of(name: str) -> EntryPoint | None:
    """The environment that `module:MyEnv` means, where that is a class or function and no id."""
    module, colon, identifier = name.rpartition(":")
    if not colon or identifier in gymnasium.registry:
        return None
    entry = getattr(sys.modules.get(module), identifier, None)
    return EntryPoint(id=identifier, entry_point=entry) if callable(entry) else None


def _vector_options(vectorization_mode):
    options: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP}
    if vectorization_mode == "async":
        # A process that JAX has threads in must not be forked.
        server = "forkserver" in multiprocessing.get_all_start_methods()
        options["context"] = "forkserver" if server else "spawn"
    return {} if vectorization_mode == "vector_entry_point" else options


def _log_warnings_of_mujoco(name):
    """Have MuJoCo's warnings logged; its own habit is a file in the working directory."""
    entry = gymnasium.registry.get(name)
    if entry is None or "mujoco" not in str(entry.entry_point):
        return
    with contextlib.suppress(ImportError):  # told of where the environment is made
        import mujoco

        # pyrefly: ignore[missing-attribute]  # its stubs lack both
        if mujoco.get_mju_user_warning() is None:
            # pyrefly: ignore[missing-attribute]
            mujoco.set_mju_user_warning(_log_warning)


def _log_warning(text):
    level = logging.DEBUG if "deprecated" in text else logging.WARNING
    logging.getLogger("sobirl.mujoco").log(level, text)


def _observation(name, space):
    if isinstance(space, spaces.Discrete):
        return (int(space.n),), np.dtype(np.float32)
    if isinstance(space, spaces.Box):
        image = space.dtype == np.uint8
        return space.shape, np.dtype(np.uint8 if image else np.float32)
    kind = type(space).__name__
    if space.is_np_flattenable:
        raise InvalidInputError(
            f"name: {name} shows a {kind} space; make it a vector with "
            f"gymnasium.wrappers.FlattenObservation, {_WHERE}"
        )
    raise InvalidInputError(
        f"name: {name} shows a {kind} space, which has no fixed size; make it a Box with "
        f"gymnasium.wrappers.TransformObservation, {_WHERE}"
    )


def _actions(name, space):
    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n))
    if not isinstance(space, spaces.Box):
        raise InvalidInputError(
            f"name: {name} takes {type(space).__name__} actions, and only Discrete and Box ones "
            "can be learned; give it one of these with gymnasium.wrappers.TransformAction, whose "
            f"func makes of it what the environment takes, {_WHERE}"
        )
    if not np.isfinite([space.low, space.high]).all():
        raise InvalidInputError(
            f"name: the actions of {name} are not bounded; bound them with "
            "gymnasium.wrappers.TransformAction(env, lambda action: action, "
            f"gymnasium.spaces.Box(low, high, {space.shape})), {_WHERE}"
        )
    return Continuous(space.low, space.high)
