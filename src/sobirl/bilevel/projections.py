"""Constraints on the leader's x, as Euclidean projections for `minimize(..., projection=)`."""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, PyTree

from sobirl.core.checks import as_float_array, check, check_shape
from sobirl.core.errors import InvalidInputError

# Halvings of the multiplier's interval: enough for every digit of a double.
_BISECTIONS = 100

_ONE_LEAF = jax.tree.structure(0)


class Projection(eqx.Module):
    """A set for x, given by the function that maps a point to the nearest one of the set.

    Any function from pytree to pytree that does so can take its place.
    """

    @abc.abstractmethod
    def __call__(self, x: PyTree) -> PyTree:
        """The nearest point to x in the set."""


class _Box(Projection):
    lower: PyTree
    upper: PyTree

    def __call__(self, x: PyTree) -> PyTree:
        return jax.tree.map(jnp.clip, x, _like(x, self.lower), _like(x, self.upper))


class _Simplex(Projection):
    total: Float[Array, ""]

    def __call__(self, x: PyTree) -> PyTree:
        projected = optax.projections.projection_simplex(x, self.total)
        return jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), projected, x)


class _Budget(Projection):
    total: Float[Array, ""]
    lower: PyTree
    upper: PyTree

    def __call__(self, x: PyTree) -> PyTree:
        flat, unravel = ravel_pytree(x)
        lower, upper = (ravel_pytree(_like(x, bound))[0] for bound in (self.lower, self.upper))
        size = jnp.abs(flat)

        def priced(price):  # the nearest point if every unit of |x| costs `price`
            shrunk = jnp.sign(flat) * jnp.maximum(size - price, 0)
            return jnp.clip(shrunk, lower, upper)

        def halve(_, interval):
            low, high = interval
            middle = (low + high) / 2
            over = jnp.sum(jnp.abs(priced(middle))) > self.total
            return jnp.where(over, middle, low), jnp.where(over, high, middle)

        # The price at which the budget is spent; 0 where it is not exhausted.
        start = (jnp.zeros_like(flat[0]), jnp.max(size))
        price = jax.lax.fori_loop(0, _BISECTIONS, halve, start)[1]
        within = jnp.sum(jnp.abs(priced(0.0))) <= self.total
        return unravel(priced(jnp.where(within, 0.0, price)))


def box(lower: PyTree = -math.inf, upper: PyTree = math.inf) -> Projection:
    """Bounds on every entry: {x : lower ≤ x ≤ upper}.

    Args:
        lower: one number for all entries, or arrays like x; -∞ for none.
        upper: likewise; ∞ for none.

    Raises:
        InvalidInputError: a bound is NaN, or a lower one is above its upper one.
    """
    return _Box(*_bounds(lower, upper))


def simplex(total: ArrayLike = 1.0) -> Projection:
    """A fixed sum to be distributed: {x : x ≥ 0, Σ x = total}, over all entries of x together.

    Args:
        total: the sum, positive.

    Raises:
        InvalidInputError: the sum is not a positive number.

    Source: Duchi, Shalev-Shwartz, Singer, Chandra (2008), figure 1, as optax has it.
    """
    return _Simplex(_positive("total", total))


def budget(total: ArrayLike, lower: PyTree = -math.inf, upper: PyTree = math.inf) -> Projection:
    """A limit on the sum of sizes, with bounds: {x : Σ |x| ≤ total, lower ≤ x ≤ upper}.

    The sum is over all entries of x together. The projection is found to round-off by bisection
    on the budget's multiplier.

    Args:
        total: the budget, positive.
        lower: one number for all entries, or arrays like x; -∞ for none.
        upper: likewise; ∞ for none.

    Raises:
        InvalidInputError: the budget is not a positive number, a bound is NaN, a lower one is
            above its upper one, or the bounds alone exceed the budget.
    """
    total = _positive("total", total)
    lower, upper = _bounds(lower, upper)
    closest = jax.tree.map(
        lambda low, high: jnp.sum(jnp.abs(jnp.clip(0.0, low, high))), lower, upper
    )
    least = sum(jax.tree.leaves(closest))
    if least > total:
        raise InvalidInputError(f"total: the bounds alone need {least:g}, got {float(total):g}")
    return _Budget(total, lower, upper)


def _positive(name: str, value) -> Float[Array, ""]:
    array = as_float_array(name, value, "must be positive", lambda v: v > 0)
    check_shape(name, array, ())
    return array


def _bounds(lower: PyTree, upper: PyTree) -> tuple[PyTree, PyTree]:
    """Both bounds as trees of the same structure, checked."""
    lower, upper = map(_listed_numbers, (lower, upper))
    if jax.tree.structure(lower) == _ONE_LEAF:
        lower = jax.tree.map(lambda _, bound=lower: bound, upper)
    elif jax.tree.structure(upper) == _ONE_LEAF:
        upper = jax.tree.map(lambda _, bound=upper: bound, lower)
    if jax.tree.structure(lower) != jax.tree.structure(upper):
        raise InvalidInputError("upper: expected one number, or arrays like those of lower")
    pairs = [_checked(*pair) for pair in zip(*map(jax.tree.leaves, (lower, upper)), strict=True)]
    return tuple(
        jax.tree.unflatten(jax.tree.structure(lower), side) for side in zip(*pairs, strict=True)
    )


def _listed_numbers(bound: PyTree) -> PyTree:
    """A list of numbers is meant as an array, not as a tree of many."""
    plain = isinstance(bound, (list, tuple)) and all(isinstance(b, (int, float)) for b in bound)
    return np.asarray(bound, float) if plain else bound


def _checked(lower, upper) -> tuple[Array, Array]:
    """The bounds of one array, of the same shape."""
    try:
        lower, upper = np.broadcast_arrays(*(np.asarray(bound, float) for bound in (lower, upper)))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            "lower and upper: expected numbers, or arrays whose shapes go together"
        ) from error
    for name, bound in (("lower", lower), ("upper", upper)):
        check(name, bound, ~np.isnan(bound), "must not be NaN")
    check("lower", lower, lower <= upper, "must not be above upper")
    return jnp.asarray(lower), jnp.asarray(upper)


def _like(x: PyTree, bound: PyTree) -> PyTree:
    """A bound as a tree like x, every array of the shape that it has there.

    Raises:
        InvalidInputError: it is neither one array for all nor like x.
    """
    if jax.tree.structure(bound) == _ONE_LEAF:
        bound = jax.tree.map(lambda _: bound, x)
    try:
        return jax.tree.map(
            lambda leaf, b: jnp.broadcast_to(jnp.asarray(b, leaf.dtype), leaf.shape), x, bound
        )
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            "projection: the bounds do not go with x; give one number, or arrays like x"
        ) from error
