"""Equality of trees of arrays to the last bit."""

import jax
import numpy as np
from jaxtyping import PyTree


def same_bits(one: PyTree, other: PyTree) -> bool:
    """Whether all arrays of two trees are equal, NaN where NaN is; typed keys are compared too."""
    pairs = zip(_numbers(one), _numbers(other), strict=True)
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind in "fc") for a, b in pairs)


def _numbers(tree: PyTree) -> list[np.ndarray]:
    """All arrays of a tree, keys as what they are made of."""
    return [np.asarray(_key_data(leaf)) for leaf in jax.tree.leaves(tree)]


def _key_data(leaf):
    is_key = jax.dtypes.issubdtype(getattr(leaf, "dtype", float), jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf
