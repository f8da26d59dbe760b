"""Locks, also where directories have none."""

import errno
import fcntl
import os
import stat

import pytest

from sobirl.core.errors import InvalidInputError
from sobirl.core.locks import is_locked, lock


@pytest.fixture(params=["local", "NFS"])
def disk(request, monkeypatch):
    """NFS asks for a file that is open for writing."""
    flock = fcntl.flock

    def picky(descriptor, operation):
        mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) or mode == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(descriptor, operation)

    if request.param == "NFS":
        monkeypatch.setattr(fcntl, "flock", picky)
    return request.param


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_a_lock_is_held_by_one(disk, kind, tmp_path):
    path = tmp_path / kind
    path.mkdir() if kind == "directory" else path.touch()
    assert not is_locked(path)
    with lock(path):
        assert is_locked(path)
        with pytest.raises(InvalidInputError, match="another process is working on it"), lock(path):
            pass
    with lock(path):
        pass
    if disk == "local" and kind == "directory":
        assert list(path.iterdir()) == []


def test_it_is_given_back_after_an_error(disk, tmp_path):
    with pytest.raises(ZeroDivisionError), lock(tmp_path):
        _ = 1 / 0
    assert not is_locked(tmp_path)


def test_where_there_is_nothing(disk, tmp_path):
    with pytest.raises(FileNotFoundError), lock(tmp_path / "gone"):
        pass
