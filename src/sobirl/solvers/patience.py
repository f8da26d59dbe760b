"""When an iteration that converges linearly is not worth going on with."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

ROUND = 20  # sweeps after which the rate is looked at


def hopeless(
    before: Float[Array, ""],
    now: Float[Array, ""],
    goal: Float[Array, ""],
    done: Int[Array, ""],
    patience: int | Int[Array, ""],
) -> Bool[Array, ""]:
    """Whether, at the rate of the last round, `patience` sweeps in all will not do.

    Args:
        before: the residual before the last round of `ROUND` sweeps.
        now: the residual after it.
        goal: the residual to reach.
        done: sweeps made so far.
        patience: the most sweeps worth making.
    """
    tiny = jnp.finfo(now.dtype).tiny
    fall = jnp.log(jnp.maximum(before, tiny)) - jnp.log(jnp.maximum(now, tiny))
    missing = jnp.log(jnp.maximum(now, tiny)) - jnp.log(jnp.maximum(goal, tiny))
    # An extrapolation at the start of a round may raise the residual once: judge from the second.
    judged = done > 2 * ROUND
    return (judged & (missing * ROUND > fall * (patience - done))) | ~jnp.isfinite(now)
