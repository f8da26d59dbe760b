"""Answered pairs in two queues: to learn from, and to judge by what was learned."""

import math

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.prefs.queue import PairQueue


class Answers(eqx.Module):
    """The labelled pairs so far; the number of a pair decides for good which queue it is in.

    Attributes:
        queue: the pairs that are learned from.
        held_out: those from which nothing ever is; None if that share is 0.
        share: of the pairs that are held out.
    """

    queue: PairQueue
    held_out: PairQueue | None
    share: float = eqx.field(static=True)

    @classmethod
    def init(cls, like: PyTree, capacity: int, share: float = 0.0) -> "Answers":
        """Empty queues, with room for the first `capacity` pairs however they are divided.

        Args:
            like: one pair, or its shapes and dtypes as of `jax.eval_shape`.
            capacity: pairs in both queues.
            share: of the pairs that are held out.

        Raises:
            InvalidInputError: the share is out of its range, or the capacity below 1.
        """
        check_share(share)
        aside = math.ceil(share * capacity)
        queue = PairQueue.init(like, max(capacity - int(share * capacity), 1))
        return cls(queue, PairQueue.init(like, aside) if aside else None, share)

    @property
    def added(self) -> int:
        """How many pairs have been added since the beginning."""
        return int(self.queue.added) + (0 if self.held_out is None else int(self.held_out.added))

    def add(self, pairs: PyTree, labels: Float[Array | np.ndarray, "M"]) -> "Answers":
        """With M more pairs; padded to a power of two, so that few programs serve all rounds."""
        number = np.arange(power_of_two(len(labels)))
        kept = number < len(labels)
        last = np.minimum(number, len(labels) - 1)
        pairs, labels = jax.tree.map(lambda leaf: leaf[last], (pairs, labels))
        aside = is_held_out(self.added + number, self.share)
        queue, held_out = _add(self.queue, pairs, labels, kept & ~aside), self.held_out
        if held_out is not None:
            held_out = _add(held_out, pairs, labels, kept & aside)
        return Answers(queue, held_out, self.share)


def check_share(share: float) -> None:
    """Raise `InvalidInputError` where a share of pairs cannot be held out."""
    if not 0 <= share < 1:
        raise InvalidInputError(f"held_out: must be at least 0 and below 1, got {share}")


def is_held_out(number: Int[np.ndarray, "M"], share: float) -> Bool[np.ndarray, "M"]:
    """Whether nothing is learned from the answers of these numbers: every so-many-th.

    Reckoned in NumPy, where nothing is fused or traced.
    """
    return np.floor((number + 1) * share) > np.floor(number * share)


def power_of_two(count: int) -> int:
    """The least one that is not below a count."""
    return 1 << (count - 1).bit_length()


_add = eqx.filter_jit(PairQueue.add)
