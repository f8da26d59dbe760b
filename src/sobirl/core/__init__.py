"""What every layer shares: responses, statuses, errors and input checks."""

from typing import TYPE_CHECKING

from sobirl.core.errors import (
    ConvergenceError,
    EnvironmentFailedError,
    InvalidInputError,
    SobirlError,
)
from sobirl.core.lazy import lazy_names
from sobirl.core.status import Status

if TYPE_CHECKING:
    from sobirl.core.response import Response

__all__ = [
    "ConvergenceError",
    "EnvironmentFailedError",
    "InvalidInputError",
    "Response",
    "SobirlError",
    "Status",
]

# Errors and statuses are wanted where JAX is not.
__getattr__, __dir__ = lazy_names(__name__, {"Response": "sobirl.core.response"})
