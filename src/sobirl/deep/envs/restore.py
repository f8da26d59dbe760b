"""The complete state of Gymnasium environments whose inner workings are known.

They are those of classic control and MuJoCo, without further wrappers. A restored environment goes
on bit for bit.
"""

import sys

import gymnasium
import numpy as np
from gymnasium.vector import SyncVectorEnv, VectorEnv
from gymnasium.wrappers import TimeLimit

from sobirl.core.errors import InvalidInputError

_CLASSIC, _MUJOCO = "gymnasium.envs.classic_control.", "gymnasium.envs.mujoco."
_POSITIONS = ("xpos", "xipos")
_WORD = 2**64


def restorable(vector_env: VectorEnv) -> bool:
    """Whether the state of every environment is known completely."""
    return isinstance(vector_env, SyncVectorEnv) and all(
        type(env.unwrapped).__module__.startswith((_CLASSIC, _MUJOCO))
        and env.spec is not None
        and not env.spec.additional_wrappers
        for env in vector_env.envs
    )


def save(vector_env: SyncVectorEnv) -> dict[str, np.ndarray]:
    """Everything that decides how the environments go on, those of number i as `i.name`."""
    parts = {
        f"{i}.{name}": part
        for i, env in enumerate(vector_env.envs)
        for name, part in _save(env).items()
    }
    return {**parts, "ended": vector_env._autoreset_envs.copy()}


def load(vector_env: SyncVectorEnv, state: dict[str, np.ndarray]) -> None:
    """Set environments, which have been reset, to a state that `save` gave.

    Raises:
        InvalidInputError: the state is one of other environments.
    """
    shapes, expected = ({k: v.shape for k, v in s.items()} for s in (state, save(vector_env)))
    if shapes != expected:
        raise InvalidInputError(
            "state: is one of other environments: it must have the entries of get_state() of "
            f"environments made in the same way, which are {expected}; got {shapes}"
        )
    vector_env._autoreset_envs = state["ended"].copy()
    for i, env in enumerate(vector_env.envs):
        _load(env, {name: state[f"{i}.{name}"] for name in _save(env)})


def _load(env, part):
    inner, limit = env.unwrapped, _time_limit(env)
    _set_generator(inner.np_random, part["random"])
    if limit is not None:
        limit._elapsed_steps = int(part["elapsed"])
    if "state" in part:
        inner.state = part["state"].copy()
        return
    mujoco = sys.modules["mujoco"]
    mujoco.mj_setState(inner.model, inner.data, part["physics"], _integration())
    for name in _POSITIONS:
        getattr(inner.data, name)[:] = part[name]


def _save(env):
    inner, limit = env.unwrapped, _time_limit(env)
    part = {"random": _generator(inner.np_random)}
    if limit is not None:
        part["elapsed"] = np.array(limit._elapsed_steps)
    if type(inner).__module__.startswith(_CLASSIC):
        return {**part, "state": np.array(inner.state)}
    mujoco = sys.modules["mujoco"]
    physics = np.empty(mujoco.mj_stateSize(inner.model, _integration()))
    mujoco.mj_getState(inner.model, inner.data, physics, _integration())
    # Positions of bodies lag one substep behind the state, and rewards look at them.
    positions = {name: getattr(inner.data, name).copy() for name in _POSITIONS}
    return {**part, "physics": physics, **positions}


def _integration():
    return sys.modules["mujoco"].mjtState.mjSTATE_INTEGRATION


def _time_limit(env):
    while isinstance(env, gymnasium.Wrapper) and not isinstance(env, TimeLimit):
        env = env.env
    return env if isinstance(env, TimeLimit) else None


def _generator(random):
    state = random.bit_generator.state
    words = [word for name in ("state", "inc") for word in divmod(state["state"][name], _WORD)]
    return np.array([*words, state["has_uint32"], state["uinteger"]], np.uint64)


def _set_generator(random, words):
    words = [int(word) for word in words]
    random.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": words[0] * _WORD + words[1], "inc": words[2] * _WORD + words[3]},
        "has_uint32": words[4],
        "uinteger": words[5],
    }
