"""Published problems: the mathematics, usable without the command line.

`sobirl.problems.four_rooms` and the like load their module when they are asked for.
"""

import importlib
import importlib.util
import pkgutil


def __getattr__(name: str):
    if name.startswith("_") or importlib.util.find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted([*globals(), *(module.name for module in pkgutil.iter_modules(__path__))])
