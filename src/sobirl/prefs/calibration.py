"""How well predicted preferences fit answers that nothing was learned from."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def calibration_error(
    probability: Float[Array, "M"],
    label: Float[Array, "M"],
    weight: Float[Array, "M"],
    bins: int = 10,
) -> Float[Array, ""]:
    """Σ_b |Σ_{i in b} w_i (y_i - p_i)| / Σ w, over bins of equal width.

    With few pairs to a bin it is well above 0 by chance, however right the probabilities are.

    Args:
        probability: p, that the first is preferred (M,).
        label: y in [0,1] (M,).
        weight: w, 0 for pairs that do not count (M,).
        bins: how many.

    Source: Guo et al. (2017), "On Calibration of Modern Neural Networks", equation 3.
    """
    place = jnp.clip((probability * bins).astype(jnp.int32), 0, bins - 1)
    gaps = jax.ops.segment_sum(weight * (label - probability), place, bins)
    return jnp.sum(jnp.abs(gaps)) / jnp.maximum(jnp.sum(weight), 1)
