"""Several starts: whose turn it is, by successive halving."""

import math
from typing import NamedTuple

from sobirl.bilevel import SuccessiveHalving


class Turn(NamedTuple):
    """One round of one start.

    Attributes:
        phase: starts are compared where it changes.
        slot: the start's rank at the phase's beginning.
    """

    phase: int
    slot: int


def phases(starts: int) -> int:
    """How often the starts are halved until one is left, and once more."""
    return math.ceil(math.log2(starts)) + 1


def rounds_each(starts: int, total: int, warm_up: float) -> int:
    """The rounds of the start that is left, so that those of all starts are at most `total`.

    Args:
        starts: how many begin.
        total: rounds of all.
        warm_up: the share of a start's rounds in which nothing is compared.
    """
    most = total
    while most > 1 and len(turns(starts, most, math.ceil(warm_up * most))) > total:
        most -= max(most // 50, 1)
    return most


def turns(starts: int, rounds: int, warm_up: int) -> list[Turn]:
    """All rounds in their order: in a phase one start after another.

    Args:
        starts: how many begin.
        rounds: of the start that is left ...
        warm_up: ... of which so many are over before the starts are compared.
    """
    halving = SuccessiveHalving(phases(starts), 2)
    schedule = halving.schedule(starts, max(rounds - warm_up, phases(starts)))
    ends = [warm_up + end for end, _ in schedule]
    lengths = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
    return [
        Turn(phase, slot)
        for phase, (_, running) in enumerate(schedule)
        for slot in range(running)
        for _ in range(lengths[phase])
    ]
