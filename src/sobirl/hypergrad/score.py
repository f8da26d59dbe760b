"""The implicit term in its score-function form: what tabular and deep methods have in common.

    1/τ E[(l - b) Σ_h (∇Q*(s_h,a_h) - ∇V*(s_h))],

where ∇Q* and ∇V* are discounted sums of ∇r over what follows a step, up to a horizon.

Source: Yang, Gao, Yuan (2025), proposition 4.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobirl.core.errors import InvalidInputError

Horizon = int | Literal["full"]
_TINY = 1e-8


def check_horizon(horizon: Horizon) -> None:
    """Raise unless it is one.

    Raises:
        InvalidInputError: it is neither "full" nor a number of steps.
    """
    if horizon != "full" and not (isinstance(horizon, int) and horizon >= 0):
        raise InvalidInputError(
            f"horizon: must be 'full' or a number of steps from 0, got {horizon!r}"
        )


def score_weights(
    losses: Float[Array, "B"],
    weight: Float[Array, "B"],
    temperature: float | Float[Array, ""],
    baseline: bool,
) -> Float[Array, "B"]:
    """w_i (l_i - b_i) / (τ Σ_j w_j): what the score of every sample counts; no gradient flows.

    Args:
        losses: l.
        weight: w, for example 0 where a sample does not count; all may be 0.
        temperature: τ of the follower.
        baseline: whether b_i is the weighted mean of the other losses, which leaves the mean as it
            is because a score has mean zero; else it is 0.
    """
    losses, weight, temperature = jax.lax.stop_gradient((losses, weight, temperature))
    total = jnp.sum(weight)
    if baseline:
        others = jnp.sum(weight * losses) - weight * losses
        losses = losses - others / jnp.maximum(total - weight, _TINY)
    return weight * losses / (temperature * jnp.maximum(total, _TINY))
