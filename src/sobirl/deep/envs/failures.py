"""Environments that others have written: where their modules are, and what they raise."""

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Iterator

from sobirl.core.errors import EnvironmentFailedError, InvalidInputError, SobirlError


@contextlib.contextmanager
def failing_as(name: str, function: str) -> Iterator[None]:
    """What an environment raises, as one line that names it, and the traceback as details.

    Args:
        name: of the environment.
        function: of the environment that is called.

    Raises:
        EnvironmentFailedError: anything was raised that is no error of ours.
    """
    try:
        yield
    except SobirlError:
        raise
    except Exception as error:
        raise EnvironmentFailedError(
            f"{name}: its {function} raised {type(error).__name__}: {error}"
            f"{_place(error, function)}",
            details=traceback.format_exc(),
        ) from error


@contextlib.contextmanager
def current_folder() -> Iterator[None]:
    """Modules are looked for in the current folder first, as Python does for a script."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def import_module_of(name: str) -> None:
    """Import the module of an environment's name `module:name`, if it has one.

    Raises:
        InvalidInputError: there is no such module, or it needs one that there is not.
    """
    module, colon, _ = name.rpartition(":")
    if not colon:
        return
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if f"{module}.".startswith(f"{error.name}."):
            raise InvalidInputError(
                f"name: {name}: there is no module {error.name}, neither in the current folder nor "
                "among the installed packages"
            ) from error
        raise InvalidInputError(
            f"name: {name}: {module} imports {error.name}, which is not installed"
        ) from error
    except Exception as error:
        raise EnvironmentFailedError(
            f"name: {name}: importing {module} raised {type(error).__name__}: {error}"
            f"{_place(error, '<module>')}",
            details=traceback.format_exc(),
        ) from error


def _place(error: Exception, function: str) -> str:
    """The innermost line of a function of that name, unless it is Gymnasium's own."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.name == function]
    if not frames or f"{os.sep}gymnasium{os.sep}" in frames[-1].filename:
        return ""
    file = os.path.basename(frames[-1].filename)
    return f" ({file}, line {frames[-1].lineno}, in {function})"
