"""Tabular problems as a folder of `.npy` files and a header, mapped into memory: for big ones.

    probabilities     (S,A,S), or (S,A,K) with successors
    successors        (S,A,K), the next states
    features          (S,A,n): what a unit of each x gives the follower
    reward            (S,A), the follower's whatever x is
    leader_reward     (S,A)
    initial           (S,)
    terminal          (S,), where episodes end
    available         (S,A), the actions that a state has
    states, actions, feature_names      names; the first only if they are no numbers

`write_folder` also keeps what was found out about the successors.
"""

from pathlib import Path
from typing import Any

import numpy as np

from sobirl.core import array_folder
from sobirl.core.errors import InvalidInputError
from sobirl.core.reading import about
from sobirl.mdp.files import TRANSITION_ARRAYS, read_transition, transition_arrays
from sobirl.problems.tabular.checks import SCALARS, as_scalar
from sobirl.problems.tabular.problem import Tabular

KIND, VERSION = "sobirl-tabular", 1
_TABLES = ("reward", "features", "leader_reward", "initial", "available", "terminal")
_NAMES = ("actions", "feature_names")
_REQUIRED = ("probabilities", *_TABLES, *_NAMES)
_KNOWN = (*TRANSITION_ARRAYS, *_TABLES, "states", *_NAMES)


def write_folder(tabular: Tabular, folder: str | Path) -> None:
    """Write a problem to a folder, which must not exist, completely or not at all.

    Raises:
        InvalidInputError: there is something already, or the folder cannot be written.
    """
    arrays, numbers = transition_arrays(tabular.transition)
    arrays |= {name: getattr(tabular, name) for name in _TABLES}
    arrays |= {name: np.array(getattr(tabular, name)) for name in _NAMES}
    if tabular.states != _numbered(len(tabular.states)):
        arrays["states"] = np.array(tabular.states)
    numbers |= {name: value for name in SCALARS if (value := getattr(tabular, name)) is not None}
    array_folder.write_folder(folder, KIND, VERSION, arrays, numbers)


def read_folder(folder: str | Path) -> Tabular:
    """The problem in a folder.

    Raises:
        InvalidInputError: the folder is damaged, cut short or of a newer version, or what it holds
            is no problem.
    """
    arrays, numbers = array_folder.read_folder(folder, KIND, VERSION, _REQUIRED, _KNOWN)
    with about(folder):
        for name in _TABLES:
            wanted = "b" if name in ("available", "terminal") else "f"
            if arrays[name].dtype.kind != wanted:
                kind = "truth values" if wanted == "b" else "floating-point numbers"
                raise InvalidInputError(f"{name}: must be {kind}, got {arrays[name].dtype}")
        for name in (*_NAMES, "states"):
            if name in arrays and (arrays[name].dtype.kind != "U" or arrays[name].ndim != 1):
                raise InvalidInputError(f"{name}: must be names, got {arrays[name].dtype}")
        if arrays["features"].ndim != 3:
            raise InvalidInputError(
                f"features: must have shape (S, A, n), got {arrays['features'].shape}"
            )
        names = [name for name in (*_NAMES, "states") if name in arrays]
        fields: dict[str, Any] = {name: arrays[name] for name in _TABLES}
        fields |= {name: tuple(arrays[name].tolist()) for name in names}
        fields |= {name: as_scalar(name, numbers[name]) for name in SCALARS if name in numbers}
        fields["transition"] = read_transition(arrays, numbers)
        fields.setdefault("states", _numbered(fields["transition"].shape[0]))
        return Tabular(**fields)


def _numbered(count: int) -> tuple[str, ...]:
    """The names of states that have none."""
    return tuple(map(str, range(count)))
