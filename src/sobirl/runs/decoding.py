"""Options from plain values and back: pydantic checks each field against its type."""

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sobirl.core.errors import InvalidInputError

if TYPE_CHECKING:
    from sobirl.runs.options import RunOptions

    Options = TypeVar("Options", bound=RunOptions)
else:  # a name that does not exist here is nothing that tests could check
    Options = TypeVar("Options")


def check_fields(options: Any, shown: Callable[[str], str]) -> None:
    """Raise unless every field keeps to its type and constraint.

    Args:
        options: what is checked, a dataclass.
        shown: an option's name as messages have it.

    Raises:
        InvalidInputError: in one sentence, naming the first option that does not.
    """
    values = {field.name: getattr(options, field.name) for field in _stored(options)}
    _validated(type(options), values, shown)


def decode(kind: type[Options], values: dict[str, Any]) -> Options:
    """The options that `encode` has made values of, perhaps by way of a JSON file.

    Raises:
        InvalidInputError: a field is unknown, or does not keep to its type and constraint.
    """
    known = {field.name for field in _stored(kind)}
    if unknown := values.keys() - known:
        raise InvalidInputError(f"{kind.problem} has no option {min(unknown)!r}")
    return _validated(kind, values, str)


def encode(options: "RunOptions") -> dict[str, Any]:
    """Every option by name, in what JSON has: infinities and paths as text, tuples as lists."""
    return {field.name: _plain(getattr(options, field.name)) for field in _stored(options)}


def _stored(options: "RunOptions | type[RunOptions]") -> list[dataclasses.Field]:
    """The fields that files can hold."""
    return [f for f in dataclasses.fields(options) if not f.metadata.get("unstored")]


def typed(name: str) -> str:
    """An option as people type it."""
    return f"--{name.replace('_', '-')}"


def _validated(kind: type, values: dict[str, Any], shown: Callable[[str], str]) -> Any:
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_python(values)
    except ValidationError as error:
        # Of a union every member complains; the last one is the number, which says most.
        first = str(error.errors()[0]["loc"][0])
        found = [entry for entry in error.errors() if entry["loc"][0] == first]
        message = " or ".join(dict.fromkeys(_sentence(entry) for entry in found))
        raise InvalidInputError(f"{shown(first)} {message}, got {_shown(values[first])}") from None


def _sentence(entry: Any) -> str:
    """What pydantic asks of a value: `should be ...`."""
    return entry["msg"].removeprefix("Input ")


def _shown(value: Any) -> str:
    several = isinstance(value, (list, tuple))
    return " ".join(map(str, value)) if several else str(value)


@functools.cache
def _adapter(kind: type):
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return str(value) if isinstance(value, Path) else value
