"""Where the starts of a run begin, and what differs between them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sobirl.bilevel.loop import Projector, StartSettings
from sobirl.core.errors import InvalidInputError


def starting_points(x0, starts: int, key, projection: Projector | None = None) -> PyTree:
    """First points with a leading start axis, within the set of the projection.

    Raises:
        InvalidInputError: x0 has no leading axis of length `starts`, holds no floats, or does not
            go with the projection.
    """
    if callable(x0):
        xs = _drawn(x0, key, starts)
    else:
        xs = jax.tree.map(jnp.asarray, x0)
        for leaf in jax.tree.leaves(xs):
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                raise InvalidInputError(f"x0: expected floating-point arrays, got {leaf.dtype}")
            if starts > 1 and leaf.shape[:1] != (starts,):
                raise InvalidInputError(
                    f"x0: with starts={starts} every array needs a leading axis of {starts} (or "
                    f"give a function from a key to one first x); got shape {leaf.shape}"
                )
        xs = xs if starts > 1 else jax.tree.map(lambda leaf: leaf[None], xs)
    return xs if projection is None else _project(projection, xs)


@eqx.filter_jit  # one program, not one for each of its operations
def _drawn(x0, key, starts: int) -> PyTree:
    return jax.vmap(x0)(jax.random.split(key, starts))


def start_settings(learning_rates, continuation, starts: int, num_steps: int) -> StartSettings:
    """The settings with a leading start axis; `num_steps` are those that every start makes.

    Raises:
        InvalidInputError: a length that is not `starts`, or a continuation that heats, or ends
            after the last step.
    """
    settings = StartSettings(learning_rates, continuation)
    for leaf in jax.tree.leaves(settings):
        if np.shape(leaf) not in ((), (starts,)):
            raise InvalidInputError(
                "learning_rates and continuation: expected one number or one a start, "
                f"({starts},); got shape {np.shape(leaf)}"
            )
    if continuation is not None:
        if not np.all(np.asarray(continuation.factor) >= 1):
            raise InvalidInputError(
                f"continuation: factor must be at least 1, got {continuation.factor}"
            )
        if not np.all(np.asarray(continuation.cooling_steps) < num_steps):
            raise InvalidInputError(
                f"continuation: must end before the last of the {num_steps} steps that every start "
                "makes, so that some are made at the problem's own temperature; got "
                f"{continuation.cooling_steps} steps"
            )
    return jax.tree.map(
        lambda leaf: jnp.broadcast_to(jnp.asarray(leaf, float), (starts,)), settings
    )


def first_finite(xs: PyTree, starts: int) -> PyTree:
    """The first start without a NaN or an infinity.

    Raises:
        InvalidInputError: there is none.
    """
    for start in range(starts):
        x = jax.tree.map(lambda leaf, i=start: leaf[i], xs)
        if all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(x)):
            return x
    raise InvalidInputError("x0: must be finite")


def _project(projection: Projector, xs: PyTree) -> PyTree:
    projected = jax.vmap(projection)(xs)
    before, after = (
        jax.tree.map(lambda leaf: (leaf.shape[1:], leaf.dtype), t) for t in (xs, projected)
    )
    if before != after:
        raise InvalidInputError(
            f"projection: must return what it is given, arrays {before}; got {after}"
        )
    return projected
