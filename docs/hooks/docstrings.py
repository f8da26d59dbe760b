"""Which public names have no docstring: looked at with plain `inspect`, so that tests can too."""

import functools
import inspect
from collections.abc import Iterator
from types import ModuleType

_DESCRIBED = (property, functools.cached_property)


def undocumented(module: ModuleType) -> list[str]:
    """The dotted names of what a module offers, and of its public members, without a docstring."""
    root = module.__name__.partition(".")[0]
    return [
        name
        for public in public_members(module)
        for name in _missing(f"{module.__name__}.{public}", getattr(module, public), root)
    ]


def public_members(module: ModuleType) -> list[str]:
    """The functions and classes that a module defines: its `__all__`, or what has no underscore."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name
        for name, member in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(member) or inspect.isroutine(member))
        and member.__module__ == module.__name__
    ]


def _missing(path: str, thing, root: str) -> Iterator[str]:
    if not _own_docstring(thing):
        yield path
    if inspect.ismodule(thing):
        members = public_members(thing)
    elif inspect.isclass(thing):
        members = [name for name in dir(thing) if _is_ours(thing, name, root)]
    else:
        return
    for name in members:
        member = getattr(thing, name)
        if isinstance(member, _DESCRIBED) or callable(member):
            yield from _missing(f"{path}.{name}", member, root)


def _is_ours(cls: type, name: str, root: str) -> bool:
    """Whether `name` is public and comes from a class of the package `root`."""
    owner = next((base for base in cls.__mro__ if name in vars(base)), None)
    ours = owner is not None and owner.__module__.partition(".")[0] == root
    return ours and not name.startswith("_")


def _own_docstring(thing) -> str | None:
    """The docstring somebody wrote for this very thing: neither inherited nor generated."""
    docstring = thing.__doc__
    # Dataclasses and named tuples without one get their signature.
    generated = inspect.isclass(thing) and (docstring or "").startswith(f"{thing.__name__}(")
    return None if generated else docstring
