"""The errors that sobirl raises."""


class SobirlError(Exception):
    """Base class of every error that sobirl raises on purpose.

    Attributes:
        details: what does not fit into a message of one line, for example the traceback of an
            exception in a user's own code; a run writes it to `error.txt`.
    """

    def __init__(self, *args: object, details: str | None = None):
        super().__init__(*args)
        self.details = details


class InvalidInputError(SobirlError, ValueError):
    """An argument is unusable: the message names it, what was wrong and what would be right."""


class EnvironmentFailedError(SobirlError, RuntimeError):
    """An environment raised an exception: the message says which, `details` has the traceback."""


class ConvergenceError(SobirlError, RuntimeError):
    """A solver stopped before its tolerance was reached; the message says what to do about it."""
