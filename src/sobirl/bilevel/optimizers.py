"""An optimizer for steps that are projected onto coupled constraints, and optimizers by name."""

import difflib
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from sobirl.core.errors import InvalidInputError

# The first step size of an optimizer that is given by its name.
_STEP_SIZE = 1e-2


class ScalarAdamState(NamedTuple):
    """The moments of the gradient: the first like x, the second one number."""

    count: Int[Array, ""]
    mean: PyTree
    square: Float[Array, ""]


def scalar_adam(
    learning_rate: float | Float[Array, ""] | optax.Schedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """Adam with one second moment for all of x, that of the gradient's norm.

    Adam scales every entry by itself, which turns the step away from the gradient. Projected onto
    a set that couples entries (`simplex`, `budget`), such steps come to rest where they should not:
    with a budget of 1 for two entries whose gradients are -1 and -2, Adam moves both alike and the
    projection takes both back. Here the step keeps the gradient's direction, so that only
    stationary points are at rest, and still its length needs no tuning to the scale of φ.

    Args:
        learning_rate: the length of a step, at first and where gradients agree, or an optax
            schedule.
        b1: decay of the mean gradient, in [0, 1).
        b2: decay of the mean squared norm, in [0, 1).
        eps: the least norm to divide by.

    Source: Kingma, Ba (2015), algorithm 1, with ‖g‖² in the place of g² as in AdaGrad-Norm (Ward,
    Wu, Bottou 2019).
    """

    def init(params: PyTree) -> ScalarAdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        square = jnp.zeros((), jnp.result_type(*jax.tree.leaves(params)))
        return ScalarAdamState(jnp.zeros((), jnp.int32), zeros, square)

    def update(updates: PyTree, state: ScalarAdamState, params: PyTree = None):
        count = state.count + 1
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mean, updates)
        square = b2 * state.square + (1 - b2) * optax.tree.norm(updates, squared=True)
        norm = jnp.sqrt(square / (1 - b2**count)) + eps
        direction = jax.tree.map(lambda m: m / ((1 - b1**count) * norm), mean)
        return direction, ScalarAdamState(count, mean, square)

    return optax.chain(
        optax.GradientTransformation(init, update), optax.scale_by_learning_rate(learning_rate)
    )


# Those of optax that need a step size only; "scalar_adam" is ours.
OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adabelief": optax.adabelief,
    "adagrad": optax.adagrad,
    "adam": optax.adam,
    "adamw": optax.adamw,
    "amsgrad": optax.amsgrad,
    "lion": optax.lion,
    "nadam": optax.nadam,
    "rmsprop": optax.rmsprop,
    "scalar_adam": scalar_adam,
    "sgd": optax.sgd,
}


@functools.cache  # the same object again, so that nothing is compiled anew
def named_optimizer(
    name: str, with_learning_rate: bool = True
) -> optax.GradientTransformation | Callable[..., optax.GradientTransformation]:
    """The optimizer of that name with the step size 1e-2, or the function from a step size to one.

    Raises:
        InvalidInputError: there is no such optimizer.
    """
    if name not in OPTIMIZERS:
        close = difflib.get_close_matches(name, OPTIMIZERS, 1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        raise InvalidInputError(
            f"optimizer: {name!r} is none{meant}; the names are {', '.join(OPTIMIZERS)}, and any "
            "optax optimizer will do, for example optax.adam(0.1)"
        )
    return OPTIMIZERS[name](_STEP_SIZE) if with_learning_rate else OPTIMIZERS[name]
