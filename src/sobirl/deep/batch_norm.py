"""Batch normalization whose every leaf is a number that gradients may be taken of.

`equinox.nn.BatchNorm` has words and counters among its leaves and hands its state around, which
the plain `jax.grad` and optax of this folder do not take.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_EPS = 1e-5
_MOMENTUM = 0.9  # of the collected statistics


class BatchNorm(eqx.Module):
    """Every channel shifted and scaled to mean 0 and variance 1, then by what is learned.

    Attributes:
        scale: learned, as is ...
        offset: ... this.
        mean: collected by `update_statistics`; no gradient flows into it, nor into ...
        variance: ... this.

    Source: Ioffe and Szegedy (2015).
    """

    scale: Float[Array, "C"]
    offset: Float[Array, "C"]
    mean: Float[Array, "C"]
    variance: Float[Array, "C"]

    def __init__(self, channels: int):
        self.scale, self.offset = jnp.ones(channels), jnp.zeros(channels)
        self.mean, self.variance = jnp.zeros(channels), jnp.ones(channels)

    def __call__(self, hidden: Float[Array, "H W C"], axis: str | None) -> Float[Array, "H W C"]:
        """By the statistics of the batch along an axis of `vmap`; by the collected ones if None."""
        if axis is None:
            mean, variance = jax.lax.stop_gradient((self.mean, self.variance))
        else:
            mean, variance = _statistics(hidden, axis)
        factor = self.scale / jnp.sqrt(variance + _EPS)
        return (hidden - mean) * factor + self.offset

    def update_statistics(self, hidden: Float[Array, "H W C"], axis: str) -> "BatchNorm":
        """With statistics that have moved a tenth of the way to those of a batch."""
        now = _statistics(hidden, axis)
        moved = jax.tree.map(
            lambda old, new: _MOMENTUM * old + (1 - _MOMENTUM) * new,
            (self.mean, self.variance),
            jax.lax.stop_gradient(now),
        )
        return eqx.tree_at(lambda norm: (norm.mean, norm.variance), self, moved)


def _statistics(hidden, axis):
    mean = jax.lax.pmean(jnp.mean(hidden, axis=(0, 1)), axis)
    variance = jax.lax.pmean(jnp.mean((hidden - mean) ** 2, axis=(0, 1)), axis)
    return mean, variance
