"""How many pairs each round asks for, out of a total."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from sobirl.core.checks import check
from sobirl.core.errors import InvalidInputError


def constant(progress: Float[np.ndarray, "R"]) -> Float[np.ndarray, "R"]:
    """The same rate all the time."""
    return np.ones_like(progress)


def hyperbolic(
    progress: Float[np.ndarray, "R"], decay: float | int = 1.0
) -> Float[np.ndarray, "R"]:
    """A rate that falls like 1/(1 + decay · progress).

    Source: Christiano et al. (2017), appendix A, where the rate falls like T/(t + T).
    """
    return 1 / (1 + decay * progress)


SCHEDULES: dict[str, Callable] = {rate.__name__: rate for rate in (constant, hyperbolic)}


def pairs_per_round(
    total: int,
    rounds: int,
    schedule: str | Callable = "hyperbolic",
    initial: int | None = None,
) -> Int[np.ndarray, "rounds"]:
    """The number of pairs of every round, which sum to `total` exactly.

    Sums over the first rounds are what the schedule asks for, rounded, so that few pairs are
    spread evenly over many rounds.

    Args:
        total: all pairs.
        rounds: R.
        schedule: a name in `SCHEDULES`, or a function from progress (R,) in [0,1), the part of the
            rounds that lies behind, to rates (R,); the decay is set by
            `functools.partial(hyperbolic, decay=10.0)`.
        initial: the pairs of the first round, out of the total; the schedule then begins with the
            second. By default the schedule says how many.

    Raises:
        InvalidInputError: a number is out of its range, there is no such schedule, or its rates
            are negative, not finite or all 0.
    """
    if rounds < 1:
        raise InvalidInputError(f"rounds: must be at least 1, got {rounds}")
    if total < 0:
        raise InvalidInputError(f"total: must be at least 0, got {total}")
    if initial is None:
        return _spread(total, _rates(schedule, rounds))
    if not 0 <= initial <= total:
        raise InvalidInputError(f"initial: must be between 0 and the total {total}, got {initial}")
    if rounds == 1:
        if initial < total:
            raise InvalidInputError(
                f"initial: must be the total {total} if there is one round, got {initial}"
            )
        return np.array([total])
    later = _spread(total - initial, _rates(schedule, rounds - 1))
    return np.concatenate([[initial], later])


def _spread(total, rates):
    ends = np.floor(total * np.cumsum(rates) / rates.sum() + 0.5).astype(int)
    ends[-1] = total
    return np.diff(ends, prepend=0)


def _rates(schedule, rounds):
    if isinstance(schedule, str):
        if schedule not in SCHEDULES:
            raise InvalidInputError(
                f"schedule: there is no {schedule!r}; choose from {', '.join(SCHEDULES)}"
            )
        schedule = SCHEDULES[schedule]
    rates = np.asarray(schedule(np.arange(rounds) / rounds), float)
    if rates.shape != (rounds,):
        raise InvalidInputError(f"schedule: must return shape ({rounds},), got {rates.shape}")
    check("schedule", rates, np.isfinite(rates) & (rates >= 0), "rates must be finite and >= 0")
    if not rates.any():
        raise InvalidInputError("schedule: all rates are 0; at least one must be positive")
    return rates
