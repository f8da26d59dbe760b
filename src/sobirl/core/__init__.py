"""What every layer shares: responses, statuses, errors and input checks."""

from sobirl.core.errors import (
    ConvergenceError,
    EnvironmentFailedError,
    InvalidInputError,
    SobirlError,
)
from sobirl.core.response import Response
from sobirl.core.status import Status

__all__ = [
    "ConvergenceError",
    "EnvironmentFailedError",
    "InvalidInputError",
    "Response",
    "SobirlError",
    "Status",
]
