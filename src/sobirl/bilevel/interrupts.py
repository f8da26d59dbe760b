"""Ctrl-C and SIGTERM that wait for the end of what is being done."""

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Iterator


@dataclasses.dataclass(eq=False)
class Interrupt:
    """Whether Ctrl-C was pressed, or the process was asked to end."""

    requested: bool = False


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Within it, the first Ctrl-C only sets a flag; a second one raises KeyboardInterrupt.

    SIGTERM counts as Ctrl-C within `termination_as_interrupt`. Where a signal does not raise
    KeyboardInterrupt in the first place (another thread, a handler of the user's own), nothing is
    changed.
    """
    interrupt = Interrupt()
    _deferred.append(interrupt)

    def on_signal(number, frame):
        if interrupt.requested:
            signal.default_int_handler(number, frame)
        interrupt.requested = True

    with contextlib.ExitStack() as held:
        held.callback(_deferred.remove, interrupt)
        for number, raises in ((signal.SIGINT, signal.default_int_handler), (_TERM, _raise)):
            if _in_main_thread() and signal.getsignal(number) is raises:
                signal.signal(number, on_signal)
                held.callback(signal.signal, number, raises)
        yield interrupt


def pause(seconds: float | int) -> None:
    """Do nothing for a while: where nothing is done, Ctrl-C need not wait.

    Raises:
        KeyboardInterrupt: also for one that `deferred_interrupt` has put off until now.
    """
    if any(interrupt.requested for interrupt in _deferred):
        raise KeyboardInterrupt
    time.sleep(seconds)


_deferred: list[Interrupt] = []


@contextlib.contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Within it, SIGTERM raises KeyboardInterrupt as Ctrl-C does: schedulers send it.

    A handler of the user's own is left alone.
    """
    if not _in_main_thread() or signal.getsignal(_TERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(_TERM, _raise)
    try:
        yield
    finally:
        signal.signal(_TERM, signal.SIG_DFL)


_TERM = signal.SIGTERM


def _raise(number, frame):
    signal.default_int_handler(number, frame)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
