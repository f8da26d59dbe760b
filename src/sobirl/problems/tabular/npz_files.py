"""Tabular problems as an `.npz` of arrays.

    transition        (S,A,S)
    features          (S,n), (S,A,n) or (S,A,S,n): what a unit of each x gives the follower
    leader_reward     (S,), (S,A) or (S,A,S)
    reward            likewise, the follower's whatever x is; 0 without it
    initial           (S,); uniform over the states that are not terminal without it
    terminal          (S,), 1 where episodes end; nowhere without it
    available         (S,A), 1 for the actions that a state has; all without it
    discount, temperature, leader_discount, transfer        numbers
    states, actions, feature_names                          names

The transitions and rewards of terminal states and unavailable actions may be anything.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from sobirl.core.checks import check
from sobirl.core.errors import InvalidInputError
from sobirl.core.reading import about, read_arrays
from sobirl.mdp import Dense, SuccessorList
from sobirl.problems.tabular.checks import (
    SCALARS,
    as_scalar,
    check_size,
    check_sums,
)
from sobirl.problems.tabular.problem import Tabular, is_dense, transition_operator

_REQUIRED = ("transition", "features", "leader_reward")
_LETTERS = {
    "transition": "(S,A,S)",
    "features": "(S,n), (S,A,n) or (S,A,S,n)",
    "leader_reward": "(S,), (S,A) or (S,A,S)",
    "reward": "(S,), (S,A) or (S,A,S)",
    "initial": "(S,)",
    "terminal": "(S,)",
    "available": "(S,A)",
    "states": "(S,)",
    "actions": "(A,)",
    "feature_names": "(n,)",
}
_KNOWN = (*_LETTERS, *SCALARS)


def read_npz(path: str | Path) -> Tabular:
    """The problem in an `.npz`.

    Raises:
        InvalidInputError: it cannot be read, or an array is missing, unknown, of a wrong shape or
            type, or has an entry that no problem has.
    """
    arrays = read_arrays(path, _KNOWN, check_shapes=_check_shapes)
    with about(path):
        return _tabular(arrays)


def _check_shapes(shapes: dict[str, tuple[int, ...]]) -> None:
    for name in _REQUIRED:
        if name not in shapes:
            raise InvalidInputError(f"there is no array {name}; needed are {', '.join(_REQUIRED)}")
    states, actions = (*shapes["transition"], 0, 0)[:2]
    number = (0, *shapes["features"])[-1]
    table = (states, actions, states)
    right = {
        "transition": [table],
        "features": [(*table[:axes], number) for axes in (1, 2, 3)],
        "leader_reward": [table[:axes] for axes in (1, 2, 3)],
        "reward": [table[:axes] for axes in (1, 2, 3)],
        "initial": [(states,)],
        "terminal": [(states,)],
        "available": [(states, actions)],
        "states": [(states,)],
        "actions": [(actions,)],
        "feature_names": [(number,)],
    }
    for name, shape in shapes.items():
        if shape not in right.get(name, [()]):
            letters = _LETTERS.get(name, "()")
            raise InvalidInputError(
                f"{name}: must have shape {letters}, got {shape}; here S = {states}, "
                f"A = {actions}, n = {number}"
            )
    if not states:
        raise InvalidInputError("transition: must have at least one state")
    if not actions:
        raise InvalidInputError("transition: must have at least one action")
    if not number:
        raise InvalidInputError("features: must have at least one, for x to have an effect")
    check_size("transition", table)
    check_size("features", (states, actions, number))


def _tabular(arrays: dict[str, np.ndarray]) -> Tabular:
    states, actions, _ = arrays["transition"].shape
    scalars = {name: as_scalar(name, arrays[name].item()) for name in SCALARS if name in arrays}
    names = {
        "states": _names(arrays, "states", "", states),
        "actions": _names(arrays, "actions", "", actions),
        "feature_names": _names(arrays, "feature_names", "x", arrays["features"].shape[-1]),
    }
    terminal = _flags("terminal", arrays.get("terminal", np.zeros(states)))
    available = _flags("available", arrays.get("available", np.ones((states, actions))))
    if terminal.all():
        raise InvalidInputError("terminal: must leave a state in which an episode can begin")
    initial = _real("initial", arrays.get("initial", ~terminal / (~terminal).sum()))
    active = available & ~terminal[:, None]

    chances = _real("transition", arrays["transition"])
    state, action = np.nonzero(~active)
    chances[state, action] = 0.0
    chances[state, action, state] = 1.0
    inside = (chances >= 0) & (chances <= 1 + 1e-5)
    check("transition", chances, inside, "probabilities must lie in [0, 1]")
    sums = chances.sum(axis=-1)
    check_sums(np.argwhere(active), sums[active], names["states"], names["actions"])
    chances /= sums[..., None]
    zeros = np.zeros(states)
    rewards = [
        _per_action(_real(name, arrays.get(name, zeros))[..., None], chances, active)[..., 0]
        for name in ("reward", "leader_reward")
    ]
    return Tabular(
        transition=_operator(chances, active),
        reward=rewards[0],
        features=_per_action(_real("features", arrays["features"]), chances, active),
        leader_reward=rewards[1],
        initial=initial,
        available=available,
        terminal=terminal,
        **names,
        **scalars,
    )


def _operator(
    chances: Float[np.ndarray, "S A S"], active: Bool[np.ndarray, "S A"]
) -> Dense | SuccessorList:
    """The transitions as a list of successors if they are few."""
    if is_dense(int(np.count_nonzero(chances, axis=-1).max()), len(chances)):
        return Dense(chances)
    steps = np.nonzero(chances * active[..., None])
    return transition_operator(active, *steps, chance=chances[steps])


def _per_action(
    table: Float[np.ndarray, "..."],
    chances: Float[np.ndarray, "S A S"],
    active: Bool[np.ndarray, "S A"],
) -> Float[np.ndarray, "S A m"]:
    """A table (S,m), (S,A,m) or (S,A,S,m) as (S,A,m), finite where nobody acts."""
    with np.errstate(over="ignore", invalid="ignore"):
        if table.ndim == 4:
            table = (chances[:, :, None] @ table)[:, :, 0]
    if table.ndim == 2:
        table = np.repeat(table[:, None], active.shape[1], axis=1)
    return np.where(active[..., None] | np.isfinite(table), table, 0.0)


def _real(name: str, array: np.ndarray) -> Float[np.ndarray, "..."]:
    """A copy in double precision."""
    if array.dtype.kind not in "fiub":
        raise InvalidInputError(f"{name}: must be real numbers, got an array of {array.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(np.float64)


def _flags(name: str, array: np.ndarray) -> Bool[np.ndarray, "..."]:
    numbers = _real(name, array)
    check(name, array, (numbers == 0) | (numbers == 1), "must be 0 or 1")
    return numbers == 1


def _names(arrays: dict, name: str, prefix: str, count: int) -> tuple[str, ...]:
    """The names in the file, or numbers."""
    if name not in arrays:
        return tuple(f"{prefix}{place}" for place in range(count))
    if arrays[name].dtype.kind != "U":
        raise InvalidInputError(
            f"{name}: must be an array of strings, got one of {arrays[name].dtype}"
        )
    try:
        return tuple(each.strip() for each in arrays[name].tolist())
    except (ValueError, SystemError):  # NumPy keeps numbers that are no characters
        raise InvalidInputError(f"{name}: has characters that do not exist") from None
