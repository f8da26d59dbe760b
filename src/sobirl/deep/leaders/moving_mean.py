"""The moving mean of estimates of the implicit term.

The term is estimated once a round, from many fragments, and still noisy: what a reward follows is
the mean over rounds.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from sobirl.core.errors import InvalidInputError


class MeanState(eqx.Module):
    """The moving mean before its correction, and of how many estimates it is."""

    mean: PyTree
    count: Int[Array, ""]


class MovingMean(eqx.Module):
    """m ← β m + (1 - β) i, as m/(1 - β^t), so that the first estimates are not held back.

    Args:
        momentum: β.

    Raises:
        InvalidInputError: it is out of its range.
    """

    momentum: float = 0.9

    def __check_init__(self):
        if not 0 <= self.momentum < 1:
            raise InvalidInputError(f"momentum: must be in [0, 1), got {self.momentum}")

    def init(self, like: PyTree) -> MeanState:
        """Of no estimate yet."""
        return MeanState(jax.tree.map(jnp.zeros_like, like), jnp.zeros((), jnp.int32))

    def update(self, state: MeanState, estimate: PyTree) -> tuple[MeanState, PyTree]:
        """The next state, and m/(1 - β^t)."""
        count = state.count + 1
        mean = jax.tree.map(
            lambda old, new: self.momentum * old + (1 - self.momentum) * new, state.mean, estimate
        )
        whole = 1 - self.momentum**count
        return MeanState(mean, count), jax.tree.map(lambda leaf: leaf / whole, mean)
