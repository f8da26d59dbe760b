"""Ctrl-C that waits for the end of what is being done."""

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Iterator


@dataclasses.dataclass
class Interrupt:
    """Whether Ctrl-C was pressed."""

    requested: bool = False


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Within it, the first Ctrl-C only sets a flag; a second one raises KeyboardInterrupt.

    Where Ctrl-C does not raise KeyboardInterrupt in the first place (another thread, a handler of
    the user's own), nothing is changed.
    """
    interrupt = Interrupt()

    def on_signal(number, frame):
        if interrupt.requested:
            signal.default_int_handler(number, frame)
        interrupt.requested = True

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not ours:
        yield interrupt
        return
    signal.signal(signal.SIGINT, on_signal)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
