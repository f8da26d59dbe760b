"""Functions of a user's, from a file that the command line names."""

import importlib.util
import traceback
from collections.abc import Callable
from pathlib import Path

from sobirl.core.errors import InvalidInputError
from sobirl.deep.envs.failures import current_folder


def function_of(option: str, place: str) -> Callable:
    """The function of `FILE.py:function`.

    Args:
        option: as it is typed, for messages.
        place: where the function is.

    Raises:
        InvalidInputError: there is no such file or function, or running the file raised an
            exception.
    """
    file, _, name = place.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise InvalidInputError(f"{option} {place}: there is no file {file}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # it ends with .py
    module = importlib.util.module_from_spec(spec)
    try:
        with current_folder():
            spec.loader.exec_module(module)
    except Exception as error:
        raise InvalidInputError(
            f"{option} {place}: running {file} raised {type(error).__name__}: {error}",
            details=traceback.format_exc(),
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        raise InvalidInputError(f"{option} {place}: {file} has no function {name}")
    return found
