"""What a run has learned, as plain arrays that can be read without its environment.

learned.npz    every array of the policy and the reward by its place, e.g. policy.actor.head.weight
learned.json   the spaces of the environment and the settings, which say how the networks are built
"""

import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.deep.envs import Continuous, Discrete, EnvSpec
from sobirl.deep.follower import Follower
from sobirl.deep.reward_model import RewardModel
from sobirl.experiments.rlhf.learning import follower_of, model_of
from sobirl.experiments.rlhf.settings import Resolved, Settings

FORMAT = 1
ARRAYS, ABOUT = "learned.npz", "learned.json"
_LEFT_OUT = ".optimizers"  # what only further learning needs
_INFINITE = "inf"  # which JSON has no number for


class Learned(NamedTuple):
    """A policy and a reward.

    Attributes:
        spec: of the environment.
        follower: how its state is read.
        agent: that state.
        model: the reward.
    """

    spec: EnvSpec
    follower: Follower
    agent: PyTree
    model: RewardModel


def files(learned: Learned, chosen: Settings) -> dict[str, str | bytes]:
    """The two files by name.

    Args:
        learned: what is written.
        chosen: the settings, with the presets filled in.
    """
    file = io.BytesIO()
    arrays: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in _named(learned)}
    np.savez(file, **arrays)
    settings = {name: _INFINITE if v == math.inf else v for name, v in plain(chosen).items()}
    about = {"format": FORMAT, "environment": _of_spec(learned.spec), "settings": settings}
    return {ARRAYS: file.getvalue(), ABOUT: json.dumps(about, indent=2) + "\n"}


def read(directory: Path) -> Learned:
    """What `files` made, of the directory of a run.

    Raises:
        InvalidInputError: a file is missing, damaged, or of a newer sobirl.
    """
    about, path = directory / ABOUT, directory / ARRAYS
    try:
        found = json.loads(about.read_bytes())
        if found["format"] > FORMAT:
            raise InvalidInputError(f"{about}: was made by a newer sobirl; upgrade it")
        spec, chosen = _spec(found["environment"]), _settings(found["settings"])
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except InvalidInputError:
        raise
    except Exception as error:  # whatever JSON, zipfile and missing entries raise
        raise InvalidInputError(f"{directory}: {ABOUT} or {ARRAYS} is damaged") from error
    follower, model = follower_of(spec, chosen), model_of(spec, chosen, chosen.members)
    key = jax.random.key(0)
    like = Learned(
        spec, follower, jax.eval_shape(follower.init, key), jax.eval_shape(model, key=key)
    )
    return _with(like, arrays, path)


def plain(chosen: Settings) -> dict[str, Any]:
    """The settings as JSON has them."""
    values = {field.name: getattr(chosen, field.name) for field in dataclasses.fields(Settings)}
    return {
        name: list(v) if isinstance(v, tuple) else str(v) if isinstance(v, Path) else v
        for name, v in values.items()
    }


def _settings(values: dict[str, Any]) -> Resolved:
    chosen: dict[str, Any] = {
        name: math.inf if v == _INFINITE else tuple(v) if isinstance(v, list) else v
        for name, v in values.items()
    }
    # The networks do not depend on the file.
    return Settings(**chosen | {"labels": None})


def _trees(learned: Learned) -> dict[str, PyTree]:
    return {"policy": learned.agent, "reward": learned.model}


def _named(learned: Learned) -> list[tuple[str, Any]]:
    """The arrays that are written."""
    leaves = jax.tree.flatten_with_path(_trees(learned))[0]
    names = [(_name(path), leaf) for path, leaf in leaves]
    return [(name, leaf) for name, leaf in names if _LEFT_OUT not in name]


def _name(path) -> str:
    return f"{path[0].key}{jax.tree_util.keystr(path[1:])}"


def _with(like: Learned, arrays: dict[str, np.ndarray], path: Path) -> Learned:
    """What is like this and has these arrays; nothing but zeros where they were left out."""
    missing = {name for name, _ in _named(like)} ^ arrays.keys()
    if missing:
        raise InvalidInputError(f"{path}: does not fit {ABOUT} (it differs in {min(missing)})")

    def array(place, leaf):
        name = _name(place)
        if name not in arrays:
            return jnp.zeros(leaf.shape, leaf.dtype)
        found = arrays[name]
        if (found.shape, found.dtype) != (leaf.shape, leaf.dtype):
            raise InvalidInputError(
                f"{path}: does not fit {ABOUT} ({name} should be {leaf.dtype}{leaf.shape}, is "
                f"{found.dtype}{found.shape})"
            )
        return jnp.asarray(found)

    trees = jax.tree.map_with_path(array, _trees(like))
    return like._replace(agent=trees["policy"], model=trees["reward"])


def _of_spec(spec: EnvSpec) -> dict[str, Any]:
    actions = spec.actions
    box = (
        {"num": actions.num}
        if isinstance(actions, Discrete)
        else {"low": np.asarray(actions.low).tolist(), "high": np.asarray(actions.high).tolist()}
    )
    fields = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    shape, kind = list(spec.observation_shape), spec.observation_dtype.name
    return fields | {"observation_shape": shape, "observation_dtype": kind, "actions": box}


def _spec(values: dict[str, Any]) -> EnvSpec:
    box = values["actions"]
    changed: dict[str, Any] = {
        "actions": Discrete(**box) if "num" in box else Continuous(**box),
        "observation_shape": tuple(values["observation_shape"]),
        "observation_dtype": np.dtype(values["observation_dtype"]),
    }
    fields = values | changed
    return EnvSpec(**fields)
