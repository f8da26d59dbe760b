"""Methods that `jax.jit` takes whatever their object holds."""

import functools
from collections.abc import Callable
from typing import Any


class hashed_by_identity:
    """A method of an Equinox module that is hashed by its own identity.

    Those that Equinox makes are hashed by all that the module holds, which fails for arrays.
    """

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """The method of an object."""
        return self if instance is None else functools.partial(self.function, instance)
