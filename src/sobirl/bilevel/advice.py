"""What to do about a run that did not converge, from how its gradients went."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from sobirl.core.status import Status

# Norms of the last tenth of the steps that differ by less say that x does not move any more.
_AT_REST = 0.05
# A norm that fell by this factor since the middle of the run is still falling.
_FALLING = 0.5


def advice_on(
    status: Status,
    norms: Float[np.ndarray, "steps"],
    tolerance: float,
    advise: Callable[[Status], str] = lambda status: status.advice,
) -> str:
    """Sentences on how a run ended; none if it converged and its followers were solved well.

    Args:
        status: the worst of its steps.
        norms: of the hyper-gradient, or of the projected one, at every x.
        tolerance: `converged` means a last norm below it.
        advise: what to do about a status.
    """
    sentences = [] if status is Status.CONVERGED else [advise(status)]
    if np.isfinite(norms[-1]) and not norms[-1] < tolerance:
        sentences.append(
            f"Not converged: the gradient's norm, {norms[-1]:.1e}, is above the tolerance, "
            f"{tolerance:.1e}. {_what_to_do(norms)}"
        )
    return " ".join(sentences)


def _what_to_do(norms: np.ndarray) -> str:
    norms = norms[np.isfinite(norms)]
    last = norms[-max(2, len(norms) // 10) :]
    middle = norms[len(norms) // 2 :][: len(last)]
    if len(norms) < 10 or np.median(last) < _FALLING * np.median(middle):
        return "It is still falling: take more steps."
    if np.ptp(last) < _AT_REST * np.median(last):
        return (
            "It hardly changes any more, because the steps have become too short: begin with a "
            "larger step size, or take more steps."
        )
    return (
        "It no longer falls: let the step size decay to 0 (optax.cosine_decay_schedule) or begin "
        "with a smaller one, and take more steps. Where a method samples, what is left may be the "
        "noise of its estimates: judge x by exact values then."
    )
