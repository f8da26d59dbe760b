"""What the conformance suites raise."""


class ConformanceError(AssertionError):
    """A contract is not kept: the message says by what, which part of it, and how."""


def shown(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
