"""Checks of user input: of every entry for concrete arrays, of shapes only for traced ones."""

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from sobirl.core.errors import InvalidInputError

if TYPE_CHECKING:
    Anything = TypeVar("Anything")
    Checked = Annotated[Anything, "checked here, see below"]
else:

    class Checked:
        """`Checked[T]` is T for readers and type checkers.

        At run time it is anything, so that our checks come first, whose errors say more.
        """

        def __class_getitem__(cls, kind: Any) -> Any:
            return Any


Numbers = Checked[
    ArrayLike
    | Sequence[ArrayLike]
    | Sequence[Sequence[ArrayLike]]
    | Sequence[Sequence[Sequence[float]]]
]
"""What `as_float_array` takes: an array, or nested sequences of numbers."""


def as_float_array(
    name: str, x, requirement: str = "must be finite", holds: Callable = np.isfinite
) -> Array:
    """`x` as a floating-point JAX array, once `holds` is true of every entry.

    The entries of traced arrays (inside `jit`, `grad` or `vmap`) cannot be looked at: there,
    statuses report what goes wrong.

    Raises:
        InvalidInputError: `x` is not numeric, or an entry fails `holds`.
    """
    if isinstance(x, jax.core.Tracer):
        return jnp.asarray(x, _float_dtype(x.dtype))
    try:
        values = np.asarray(x)
    except ValueError as error:
        raise InvalidInputError(f"{name}: not a rectangular array of numbers") from error
    if values.dtype.kind not in "fiub" and not jnp.issubdtype(values.dtype, jnp.floating):
        kind = type(x).__name__ if values.dtype.kind == "O" else values.dtype
        raise InvalidInputError(f"{name}: expected real numbers, got {kind}")
    check(name, values, np.isfinite(values.astype(np.float64, copy=False)), "must be finite")
    check(name, values, holds(values), requirement)
    if values.dtype == np.float64 and values.ndim and _float_dtype(values.dtype) != np.float64:
        warnings.warn(
            f"{name} is float64 but JAX is set to float32; for exact hyper-gradients call "
            "jax.config.update('jax_enable_x64', True) before anything else",
            stacklevel=3,
        )
    return jnp.asarray(x, _float_dtype(values.dtype))


def _float_dtype(dtype):
    """`dtype` if it is floating (in the precision JAX is set to), else JAX's default float."""
    dtype = dtype if jnp.issubdtype(dtype, jnp.floating) else np.float64
    return jax.dtypes.canonicalize_dtype(dtype)


def check(name: str, values: ArrayLike, holds: ArrayLike, requirement: str) -> None:
    """Raise unless `holds` is true everywhere, naming the first entry of `values` where it fails.

    Raises:
        InvalidInputError: with the argument, the requirement, the entry and its index.
    """
    values, holds = np.asarray(values), np.asarray(holds)
    if holds.all():
        return
    index = tuple(int(i) for i in np.argwhere(~holds)[0])
    where = f" at index {list(index)}" if index else ""
    others = int((~holds).sum()) - 1
    more = f" (and {others} more)" if others else ""
    raise InvalidInputError(f"{name}: {requirement}, got {values[index]}{where}{more}")


def as_policy(name: str, policy, shape: tuple[int, ...]) -> Array:
    """Action probabilities (S,A) as an array, once those of every state sum to 1.

    Raises:
        InvalidInputError: the shape is another, an entry is negative, or a sum is not 1.
    """
    array = as_float_array(name, policy, "must not be negative", lambda p: p >= 0)
    check_shape(name, array, shape)
    if not isinstance(policy, jax.core.Tracer):
        sums = np.asarray(policy).sum(axis=-1, dtype=np.float64)
        close = np.abs(sums - 1) <= 1e-4
        check(name, sums, close, "action probabilities of a state must sum to 1")
    return array


def check_number(name: str, value, requirement: str, holds: Callable) -> None:
    """Raise unless `holds` is true of a number; arrays, which may be traced, are not looked at.

    Raises:
        InvalidInputError: with the argument, the requirement and the number.
    """
    if isinstance(value, (int, float)) and not holds(value):
        raise InvalidInputError(f"{name}: {requirement}, got {value}")


def check_shape(name: str, array, *allowed: tuple[int, ...]) -> None:
    """Raise unless `array` has one of the allowed shapes.

    Raises:
        InvalidInputError: with the argument, its shape and the shapes that would be right.
    """
    if tuple(array.shape) not in allowed:
        right = " or ".join(str(shape) for shape in allowed)
        raise InvalidInputError(f"{name}: expected shape {right}, got {tuple(array.shape)}")
