"""What conformance suites raise."""


class ConformanceError(AssertionError):
    """A contract is not kept: the message says which part of it, and how."""
