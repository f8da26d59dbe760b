"""The newest labelled pairs, in a ring of fixed capacity that lives inside compiled programs."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from sobirl.core.errors import InvalidInputError


class Labelled(eqx.Module):
    """Labelled pairs.

    Attributes:
        pair: whatever was added, usually a `Fragment` with leading axes (*B,2).
        label: in [0,1] (*B,).
        number: how many labelled pairs had been added before it (*B,); -1 where there is no such
            pair, and what stands here means nothing.
    """

    pair: PyTree
    label: Float[Array, "*B"]
    number: Int[Array, "*B"]


class PairQueue(eqx.Module):
    """Up to C labelled pairs; new ones take the places of the oldest.

    Attributes:
        pair: the pairs (C,...).
        label: their labels (C,).
        added: how many have been added since the beginning, those included that were replaced.
    """

    pair: PyTree
    label: Float[Array, "C"]
    added: Int[Array, ""]

    @classmethod
    def init(cls, like: PyTree, capacity: int) -> "PairQueue":
        """An empty queue.

        Args:
            like: one pair, or its shapes and dtypes as of `jax.eval_shape`.
            capacity: C.

        Raises:
            InvalidInputError: the capacity is below 1.
        """
        if capacity < 1:
            raise InvalidInputError(f"capacity: must be at least 1, got {capacity}")
        pair = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), like)
        return cls(pair, jnp.zeros(capacity), jnp.zeros((), jnp.int32))

    @property
    def capacity(self) -> int:
        """C."""
        return len(self.label)

    @property
    def size(self) -> Int[Array, ""]:
        """How many pairs there are."""
        return jnp.minimum(self.added, self.capacity)

    def add(
        self,
        pairs: PyTree,
        labels: Float[Array | np.ndarray, "M"],
        kept: Bool[Array | np.ndarray, "M"] | None = None,
    ) -> "PairQueue":
        """The queue with M more pairs, the last one the newest.

        Args:
            pairs: (M,...).
            labels: (M,).
            kept: which ones to add (M,); all by default.

        Raises:
            InvalidInputError: the pairs have other shapes or dtypes than those of the queue.
        """
        _check_alike(self.pair, pairs)
        labels = jnp.asarray(labels, self.label.dtype)
        kept = jnp.ones(labels.shape, bool) if kept is None else jnp.asarray(kept)
        rank = jnp.cumsum(kept, dtype=jnp.int32) - 1
        total = kept.sum(dtype=jnp.int32)
        # More than fit: the last ones win; a scatter to one place twice would not say which does.
        stays = kept & (rank >= total - self.capacity)
        place = jnp.where(stays, (self.added + rank) % self.capacity, self.capacity)
        pair = jax.tree.map(
            lambda all_, new: all_.at[place].set(new, mode="drop"), self.pair, pairs
        )
        label = self.label.at[place].set(labels, mode="drop")
        return PairQueue(pair, label, self.added + total)

    def at(self, age: Int[Array | np.ndarray, "*B"]) -> Labelled:
        """The pairs of some ages, counted from 0 for the newest."""
        number = self.added - 1 - jnp.asarray(age, jnp.int32)
        place = number % self.capacity
        pair, label = jax.tree.map(lambda leaf: leaf[place], (self.pair, self.label))
        there = (number >= 0) & (number >= self.added - self.capacity)
        return Labelled(pair, label, jnp.where(there, number, -1))

    def sample(self, key: Key[Array, ""], batch: int) -> Labelled:
        """Independent uniform draws (batch,); those from an empty queue have number -1.

        Raises:
            InvalidInputError: the batch is below 1.
        """
        if batch < 1:
            raise InvalidInputError(f"batch: must be at least 1, got {batch}")
        return self.at(jax.random.randint(key, (batch,), 0, jnp.maximum(self.size, 1), jnp.int32))


def _check_alike(held, pairs):
    wanted, found = (
        jax.tree.map(lambda leaf: f"{leaf.dtype}{leaf.shape[1:]}", tree) for tree in (held, pairs)
    )
    if not eqx.tree_equal(wanted, found):
        raise InvalidInputError(f"pairs: must be like those of the queue, {wanted}, got {found}")
