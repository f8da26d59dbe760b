"""Temperature continuation: start with a softer follower, end with the problem's own."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num


class GeometricContinuation(eqx.Module):
    """The follower's temperature is multiplied by factor^(1 - step/cooling_steps), then left alone.

    A soft follower responds smoothly, so that gradients reach further; cooling it geometrically
    leads to better local optima of problems with nearly deterministic followers.

    Args:
        factor: first multiple of the problem's own temperature, at least 1; one a start if (n,).
        cooling_steps: steps until the own temperature is reached; one a start if (n,).
    """

    factor: float | int | Num[Array | np.ndarray, "..."] = 1.0
    cooling_steps: int | Num[Array | np.ndarray, "..."] = 1

    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """The factor at a step; exactly 1 from `cooling_steps` on."""
        remaining = 1 - step / jnp.maximum(self.cooling_steps, 1)
        return jnp.where(remaining > 0, jnp.asarray(self.factor) ** remaining, 1.0)
