"""What the parts of a tabular problem must be, whether they come from files or from Python."""

import math
import numbers
import re

import numpy as np
from jaxtyping import Float, Int

from sobirl.core.errors import InvalidInputError
from sobirl.core.reading import shown

MAX_ENTRIES = 10**8
# What the columns of CSV files mean; a feature has another name.
RESERVED = ("state", "action", "next_state", "probability", "reward", "leader_reward")
# Control characters, line ends and halves of surrogate pairs.
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

SCALARS = {
    "discount": ("must lie in [0, 1)", lambda value: 0 <= value < 1),
    "temperature": ("must be a positive number", lambda value: 0 < value < math.inf),
    "leader_discount": ("must lie in [0, 1)", lambda value: 0 <= value < 1),
    "transfer": ("must be a finite number", math.isfinite),
}


def as_scalar(name: str, value) -> float:
    """`value` as the number `name`, one of `SCALARS`.

    Raises:
        InvalidInputError: with the name, what would be right and the value.
    """
    requirement, holds = SCALARS[name.split()[-1]]
    try:
        number = float(value) if isinstance(value, numbers.Real) else math.nan
    except OverflowError:
        number = math.nan
    if not holds(number):
        raise InvalidInputError(f"{name}: {requirement}, got {shown(str(value))[1:-1]}")
    return number


def check_size(name: str, shape: tuple[int, ...]) -> None:
    """Raise if a table of this shape would have more than `MAX_ENTRIES` entries.

    Raises:
        InvalidInputError: with the shape.
    """
    if math.prod(shape) > MAX_ENTRIES:
        raise InvalidInputError(
            f"{name}: a table of shape {tuple(shape)} takes too much memory; at most "
            f"{MAX_ENTRIES:,} entries are possible"
        )


def check_sums(
    pairs: Int[np.ndarray, "N 2"],
    sums: Float[np.ndarray, "N"],
    states: tuple[str, ...],
    actions: tuple[str, ...],
) -> None:
    """Raise unless the probabilities of every pair of a state and an action sum to 1.

    Raises:
        InvalidInputError: with the first state and action where they do not, and how many more.
    """
    wrong = np.flatnonzero(np.abs(sums - 1) > 1e-5)
    if len(wrong):
        state, action = pairs[wrong[0]]
        more = f" (and {len(wrong) - 1} more like this)" if len(wrong) > 1 else ""
        raise InvalidInputError(
            f"the probabilities of state {shown(states[state])}, action "
            f"{shown(actions[action])} must sum to 1, got {sums[wrong[0]]:.8g}{more}"
        )


def check_names(
    name: str, names: tuple[str, ...], count: int, reserved: tuple[str, ...] = ()
) -> None:
    """Raise unless these are `count` different names, none of them reserved.

    Raises:
        InvalidInputError: with the name at fault.
    """
    if len(names) != count:
        raise InvalidInputError(f"{name}: expected {count} names, got {len(names)}")
    if not count:
        raise InvalidInputError(f"{name}: there must be at least one")
    seen = set()
    for each in names:
        if not is_name(each):
            raise InvalidInputError(
                f"{name}: must be text on one line without space around it, got {shown(each)}"
            )
        if each in reserved:
            raise InvalidInputError(f"{name}: {shown(each)} means something else; rename it")
        if each in seen:
            raise InvalidInputError(f"{name}: {shown(each)} is there more than once")
        seen.add(each)


def is_name(text: str) -> bool:
    """Whether `text` is not empty and a table or a message can show it in one line."""
    return text != "" and text == text.strip() and not _NO_TEXT.search(text)
