"""Starts in rounds: many begin, and only the best of them go on."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from sobirl.bilevel.loop import Running, RunState
from sobirl.core.batching import default_platform
from sobirl.core.errors import InvalidInputError


@dataclasses.dataclass(frozen=True)
class SuccessiveHalving:
    """Rounds of starts: after each one, the best 1/`factor` of the starts go on.

    All rounds make about the same number of steps, all starts together: a round with fewer starts
    is longer. Starts are compared by their lowest objective so far at the problem's own
    temperature; with methods that only estimate it, by their last estimate.

    Args:
        rounds: how many there are; 1 drops no start.
        factor: how many times fewer starts each round has than the one before, above 1.

    Raises:
        InvalidInputError: an argument is out of its range.

    Source: Jamieson, Talwalkar (2016), algorithm 1, with starts in the place of arms.
    """

    rounds: int | float = 3
    factor: float | int = 3.0

    def __post_init__(self):
        if self.rounds < 1 or self.rounds != int(self.rounds):
            raise InvalidInputError(
                f"rounds: must be a whole number, at least 1; got {self.rounds}"
            )
        if not 1 < self.factor < float("inf"):
            raise InvalidInputError(f"factor: must be a number above 1, got {self.factor}")

    def schedule(self, starts: int, num_steps: int) -> list[tuple[int, int]]:
        """(last step, starts) of every round, for a run of `num_steps` that begins with `starts`.

        Raises:
            InvalidInputError: there are fewer steps than rounds.
        """
        if num_steps < self.rounds:
            raise InvalidInputError(
                f"rounds: {self.rounds} rounds need as many steps at least, got {num_steps}"
            )
        lengths = self.factor ** np.arange(self.rounds)
        ends = np.rint(num_steps * np.cumsum(lengths) / lengths.sum()).astype(int)
        ends = np.maximum(ends, np.arange(1, self.rounds + 1))
        numbers = np.maximum(np.rint(starts / lengths), 1).astype(int)
        return list(zip(ends.tolist(), numbers.tolist(), strict=True))


def running_starts(state: RunState, schedule: list[tuple[int, int]]) -> tuple[Running, int | None]:
    """Which starts run at a state of a run in rounds, and the steps until their round ends.

    The state alone decides, so that a run that is taken up again goes on with the same starts.
    None for the steps in (and after) the last round.
    """
    done = np.asarray(state.step)
    last = done.max()
    begun = [number for number, (end, _) in enumerate(schedule[:-1], 1) if end <= last]
    number = begun[-1] if begun else 0
    at_boundary = number > 0 and schedule[number - 1][0] == last
    survivors = np.flatnonzero(done == last)
    if at_boundary and len(survivors) > schedule[number][1]:
        objectives = np.asarray(state.best_objective)[survivors]
        # A stable order, with starts that failed at its end.
        best = np.argsort(np.where(np.isnan(objectives), np.inf, objectives), kind="stable")
        survivors = np.sort(survivors[best[: schedule[number][1]]])
    left = None if number == len(schedule) - 1 else schedule[number][0] - int(last)
    return _running(survivors, len(done)), left


def _running(survivors: np.ndarray, starts: int) -> Running:
    count = len(survivors)
    if default_platform() == "cpu":  # where the program asks for no certain number
        survivors = np.pad(survivors, (0, starts - count))
    return Running(jnp.asarray(survivors, jnp.int32), jnp.asarray(count, jnp.int32))
