"""Whether an optimizer and a projection go together."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Key, PyTree

from sobirl.core.errors import InvalidInputError

# Warm-ups take no first step.
_STEPS = 5
# How far from x, in units of its size and 1, a projection is looked at.
_DISTANCES = (0.1, 1.0, 10.0, 1e3, 1e6)
_TRIES = 8  # at each of them


def check_coupling(
    optimizer: optax.GradientTransformation, projection: Callable[[PyTree], PyTree], x: PyTree
) -> None:
    """Refuse steps that come to rest where they should not.

    An optimizer that scales every entry by itself (Adam) turns the step away from the gradient;
    where the projection couples entries it can then take the step back although x is not
    stationary. Both are found out by trying, so that projections of the user's own count too.

    Raises:
        InvalidInputError: the optimizer scales entries one by one, and the projection couples them.
    """
    if _pair(optimizer, projection, x):
        raise InvalidInputError(
            "optimizer: scales the entries of x one by one (as Adam does) while the projection "
            "couples them (as a budget or a simplex does); such steps come to rest at points that "
            "are not stationary. Use sobirl.scalar_adam(learning_rate), the default, or "
            "optax.sgd(learning_rate)"
        )


def _pair(optimizer, projection, x) -> bool:
    """Whether entries are scaled one by one and coupled, in one small program."""

    def both(x, key):
        return scales_entries(optimizer, x) & couples_entries(projection, x, key)

    return bool(jax.jit(both)(x, jax.random.key(0)))


def scales_entries(optimizer: optax.GradientTransformation, x: PyTree) -> Bool[Array, ""]:
    """Whether the first step of an optimizer that is not zero leaves the gradient's direction."""
    flat, unravel = ravel_pytree(x)
    ramp = jnp.linspace(1.0, 2.0, flat.size, dtype=flat.dtype)
    gradient, zero = unravel(ramp), unravel(jnp.zeros_like(flat))
    state, step = optimizer.init(zero), jnp.zeros_like(flat)
    for _ in range(_STEPS):
        update, state = optimizer.update(gradient, state, zero)
        step = jnp.where(jnp.any(step != 0), step, ravel_pytree(update)[0])
    ratio = step / ramp
    return jnp.max(ratio) - jnp.min(ratio) > 1e-3 * jnp.max(jnp.abs(ratio))


def couples_entries(
    projection: Callable[[PyTree], PyTree], x: PyTree, key: Key[Array, ""]
) -> Bool[Array, ""]:
    """Whether what a projection makes of one entry was seen to depend on others.

    If it treats every entry by itself, half of one point with half of another is projected to half
    of one's projection with half of the other's.
    """
    flat, unravel = ravel_pytree(x)

    def project(flat: Float[Array, "n"]) -> Float[Array, "n"]:
        return ravel_pytree(projection(unravel(flat)))[0]

    def at(distance, key):
        here, there, half = jax.random.split(key, 3)
        shape, size = flat.shape, distance * (1 + jnp.max(jnp.abs(flat)))
        a, b = (flat + size * jax.random.normal(k, shape, dtype=flat.dtype) for k in (here, there))
        mask = jax.random.bernoulli(half, 0.5, shape)
        each = jnp.where(mask, project(a), project(b))
        apart = jnp.max(jnp.abs(project(jnp.where(mask, a, b)) - each))
        return apart > 1e-3 * jnp.max(jnp.abs(each))

    distances = jnp.repeat(jnp.asarray(_DISTANCES, flat.dtype), _TRIES)
    return jnp.any(jax.vmap(at)(distances, jax.random.split(key, len(distances))))
