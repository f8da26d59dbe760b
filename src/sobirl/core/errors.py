"""The errors that sobirl raises."""


class SobirlError(Exception):
    """Base class of every error that sobirl raises on purpose."""


class InvalidInputError(SobirlError, ValueError):
    """An argument is unusable: the message names it, what was wrong and what would be right."""


class ConvergenceError(SobirlError, RuntimeError):
    """A solver stopped before its tolerance was reached; the message says what to do about it."""
