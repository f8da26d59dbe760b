"""The DeepMind Control Suite, which shimmy registers with Gymnasium."""

import importlib
import warnings

from sobirl.core.errors import InvalidInputError

PREFIX = "dm_control/"
_PACKAGES = ("dm_control", "shimmy")


def register(name: str) -> None:
    """Make Gymnasium know the suite's names, of which this is one.

    Raises:
        InvalidInputError: a package is missing.

    Source: Tassa et al. (2018), "DeepMind Control Suite".
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a missing display, which only pictures need
        for package in _PACKAGES:
            try:
                importlib.import_module(package)
            except ImportError as error:
                raise InvalidInputError(
                    f"name: {name} needs further packages ({error}): pip install 'sobirl[dmc]'"
                ) from error
