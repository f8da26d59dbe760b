"""Locks on directories and files, which the system lets go of when their process ends."""

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from sobirl.core.errors import InvalidInputError

try:
    import fcntl
except ImportError:  # Windows: there nothing keeps two processes from one run
    fcntl = None


@contextlib.contextmanager
def lock(path: Path, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock of a directory or a file. It stays with it when that is renamed.

    Nothing is written, so that directories which can only be read have a lock too; but for NFS,
    which locks no directories: there the lock is on a file `.lock` in it.

    Args:
        path: the directory or the file.
        patience: seconds to wait for another process to let go of it.

    Raises:
        InvalidInputError: another process holds it for longer.
    """
    if fcntl is None:
        yield
        return
    is_file, end = path.is_file(), time.monotonic() + patience
    descriptor = os.open(path, os.O_RDWR if is_file else os.O_RDONLY)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= end:
                    message = f"{path}: another process is working on it"
                    raise InvalidInputError(message) from error
                time.sleep(0.02)
            except OSError as error:
                if is_file or error.errno != errno.EBADF:
                    raise
                os.close(descriptor)
                is_file = True
                descriptor = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        yield
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a directory."""
    try:
        with lock(path):
            return False
    except InvalidInputError:
        return True
