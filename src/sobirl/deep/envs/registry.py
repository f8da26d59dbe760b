"""Environments by name."""

import importlib
import inspect

from sobirl.core.errors import InvalidInputError

# The module of each back end, and the extra of sobirl that has its packages.
_BACKENDS = {
    "atari": ("sobirl.deep.envs.atari", "atari"),
    "gymnasium": ("sobirl.deep.envs.gymnasium_envs", "envs"),
    "gymnax": ("sobirl.deep.envs.gymnax_envs", "envs"),
}
_GYMNAX_SUFFIXES = ("-MinAtar", "-bsuite", "-misc")
_GYMNAX_CONTROL = (
    "Acrobot-v1",
    "CartPole-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "Pendulum-v1",
)


def make(name: str, num_envs: int, backend: str | None = None, **options):
    """N environments by name.

    `ALE/...` are Atari games. Classic control and what is named `...-MinAtar`, `...-bsuite` or
    `...-misc` comes from gymnax, everything else from Gymnasium.

    Args:
        name: for example `CartPole-v1`, `Breakout-MinAtar`, `HalfCheetah-v5`, `ALE/BeamRider-v5`,
            or `my_module:MyEnv-v0` for one that a module registers with Gymnasium.
        num_envs: the number of environments.
        backend: "gymnax", "gymnasium" or "atari", to choose it yourself.
        options: those of the back end's own `make`: `max_episode_steps`, `frame_stack`,
            `render_mode` ("rgb_array", Gymnasium and Atari), `vectorization_mode` (Gymnasium),
            `episodic_life` (Atari) and others.

    Returns:
        `CompiledEnvironments` for gymnax, `HostEnvironments` for the others.

    Raises:
        InvalidInputError: there is no such environment or back end, a package is missing, or an
            option is unusable.
        EnvironmentFailedError: a module or environment of the user's raised an exception.
    """
    backend = backend or default_backend(name)
    if backend not in _BACKENDS:
        raise InvalidInputError(
            f"backend: there is no {backend!r}; choose from {', '.join(_BACKENDS)}"
        )
    module, extra = _BACKENDS[backend]
    try:
        made_by = importlib.import_module(module)
    except ImportError as error:
        raise InvalidInputError(
            f"name: {name} needs further packages ({error}): pip install 'sobirl[{extra}]'"
        ) from error
    try:
        inspect.signature(made_by.make).bind(name, num_envs, **options)
    except TypeError as error:
        raise InvalidInputError(f"options: the back end {backend} {error}") from error
    return made_by.make(name, num_envs, **options)


def default_backend(name: str) -> str:
    """The back end that an environment comes from unless another is asked for."""
    if name.startswith("ALE/"):
        return "atari"
    if ":" in name:  # a module of Gymnasium environments
        return "gymnasium"
    return "gymnax" if name in _GYMNAX_CONTROL or name.endswith(_GYMNAX_SUFFIXES) else "gymnasium"
