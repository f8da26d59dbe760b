"""Published problems, loaded when they are asked for."""

import importlib

from sobirl.core.errors import InvalidInputError

_MODULES = {
    "four-rooms": "sobirl.problems.four_rooms",
    "preferences": "sobirl.problems.preferences",
    "random-incentives": "sobirl.problems.random_incentives",
    "random-mdp": "sobirl.problems.random_mdp",
    "rust-bus": "sobirl.problems.rust_bus",
    "tabular": "sobirl.problems.tabular",
}


def names() -> list[str]:
    """The names of all problems."""
    return list(_MODULES)


def load(name: str):
    """The module of a problem, for example `load("four-rooms")`; its docstring says what it is.

    Raises:
        InvalidInputError: there is no such problem.
    """
    if name not in _MODULES:
        raise InvalidInputError(f"problem: there is no {name!r}; choose from {', '.join(_MODULES)}")
    return importlib.import_module(_MODULES[name])


def __getattr__(attribute: str):
    """`problems.four_rooms` and the like import their module at first use."""
    name = attribute.replace("_", "-")
    if name in _MODULES:
        return load(name)
    raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *(name.replace("-", "_") for name in _MODULES)])
