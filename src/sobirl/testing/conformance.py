"""What the conformance suites have in common."""

from collections.abc import Callable

import jax


class ConformanceError(AssertionError):
    """A contract is not kept: the message says by what, which part of it, and how."""


def shown(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def compiled(function: Callable) -> Callable:
    """Compiled quickly: what runs is small."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})
