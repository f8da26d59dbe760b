"""What happened in a fragment, in words, for people who cannot see its pictures."""

import numpy as np

from sobirl.deep.envs.spec import EnvSpec

_MOST = 8  # numbers of an observation, channels of a board, or states
_TURN = ("cosine of the angle", "sine of the angle")
_NAMES = {
    "CartPole-v1": ("position", "speed", "angle", "turning speed"),
    "MountainCar-v0": ("position", "speed"),
    "MountainCarContinuous-v0": ("position", "speed"),
    "Pendulum-v1": (*_TURN, "turning speed"),
}


def description(frames: np.ndarray, spec: EnvSpec) -> str:
    """Where a fragment begins and ends and what lies between, (L,*obs); empty for screens."""
    shape = frames.shape[1:]
    if len(shape) == 1:
        if shape[0] > 1 and np.isin(frames, (0, 1)).all() and (frames.sum(axis=1) == 1).all():
            return _states(frames.argmax(axis=1))
        return _numbers(frames, _NAMES.get(spec.name, ()))
    if len(shape) == 3 and frames.dtype != np.uint8:
        return _board(frames != 0)
    return ""


def _states(numbers: np.ndarray) -> str:
    """The states that it came through, each stay once."""
    way = [int(n) for n, before in zip(numbers[1:], numbers, strict=False) if n != before]
    shown = [int(numbers[0]), *way]
    more = f", and {len(shown) - _MOST} more" if len(shown) > _MOST else ""
    return "states " + ", ".join(map(str, shown[:_MOST])) + more + f"; at the end {shown[-1]}"


def _numbers(frames: np.ndarray, names: tuple[str, ...]) -> str:
    parts = []
    for number, values in enumerate(frames.T[:_MOST].astype(float)):
        name = names[number] if number < len(names) else f"number {number + 1}"
        first, last, low, high = (
            f"{value:.2g}" for value in (*values[[0, -1]], values.min(), values.max())
        )
        parts.append(f"{name} from {first} to {last}, between {low} and {high}")
    return "; ".join(parts)


def _board(there: np.ndarray) -> str:
    """Where those things are at first and at last that are in one place."""
    parts = []
    for channel in range(min(there.shape[-1], _MOST)):
        places = [np.argwhere(board[..., channel]) for board in there[[0, -1]]]
        if all(len(place) == 1 for place in places):
            first, last = (f"row {r + 1}, column {c + 1}" for ((r, c),) in places)
            parts.append(f"thing {channel + 1} from {first} to {last}")
    return "; ".join(parts)
