"""Options as the command line shows them: one keyword a field, with help from its docstring."""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union

import docstring_parser
from cyclopts import App, Group, Parameter, Token, convert

from sobirl.runs.decoding import typed
from sobirl.runs.options import Choices, RunOptions, StepwiseOptions

_OWN = Group("Options", sort_key=0)
_OF_ALL_RUNS = Group("Options of every run", sort_key=1)


def new_app(**options: Any) -> App:
    """An app in which an option takes all the values that follow it."""
    parameter = Parameter(consume_multiple=True, negative=())
    return App(
        default_parameter=parameter,
        help_format="plaintext",
        suppress_keyboard_interrupt=False,  # its message says how to go on
        **options,
    )


def command_for(
    kind: type[RunOptions], carry_out: Callable[[RunOptions, bool], None]
) -> Callable[..., None]:
    """A function whose keywords are the fields of an experiment, for cyclopts to parse.

    Args:
        kind: the experiment.
        carry_out: called with its options, and whether compiled programs are kept.
    """

    def command(*, cache: bool = True, **values: Any) -> None:
        carry_out(kind(**values), cache)

    hints, docs = typing.get_type_hints(kind, include_extras=True), _docs(kind)
    shared = {field.name for field in dataclasses.fields(StepwiseOptions)}
    parameters = [
        _parameter(
            field.name,
            hints[field.name],
            field.default,
            docs.get(field.name, ""),
            _OF_ALL_RUNS if field.name in shared else _OWN,
        )
        for field in _own_first(kind, shared)
    ]
    cache = "Keep compiled programs, so that the next run need not compile them again."
    parameters.append(_parameter("cache", bool, True, cache, _OF_ALL_RUNS))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = inspect.cleandoc(kind.__doc__ or "")
    return command


def _own_first(kind: type, shared: set[str]) -> list[dataclasses.Field]:
    """The fields, those that an experiment has from a base with other experiments later."""

    def distance(field):
        bases = enumerate(kind.__mro__)
        return max(i for i, base in bases if field.name in vars(base).get("__annotations__", ()))

    fields = dataclasses.fields(kind)
    return sorted(fields, key=lambda field: 0 if field.name in shared else distance(field))


def _parameter(name: str, hint: Any, default: Any, text: str, group: Group) -> inspect.Parameter:
    shown = Parameter(
        name=typed(name),
        help=" ".join(text.split()),
        group=group,
        negative=f"--no-{name.replace('_', '-')}" if default is True else "",
        converter=_convert,
        allow_repeating=True if typing.get_origin(_named(hint)) is not tuple else None,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        # pyrefly: ignore[invalid-annotation]  # a type made at run time
        annotation=Annotated[_named(hint), shown],
    )


def _named(hint: Any) -> Any:
    """A type in which what `Choices` allows is spelled out; the constraints are checked later."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Annotated:
        choices = next((c for c in arguments if isinstance(c, Choices)), None)
        if choices is None:
            return _named(arguments[0])
        # pyrefly: ignore[invalid-literal]  # a type made at run time
        return Literal[tuple(choices.names())]
    if typing.get_origin(hint) in (Union, types.UnionType):
        # pyrefly: ignore[invalid-annotation]  # a type made at run time
        return Union[tuple(map(_named, arguments))]  # noqa: UP007
    if typing.get_origin(hint) is tuple:
        # pyrefly: ignore[invalid-annotation, not-a-type]  # a type made at run time
        return tuple[(_named(arguments[0]), *arguments[1:])]
    return hint


def _convert(hint: Any, tokens: Sequence[Token]) -> Any:
    """The value that words stand for; cyclopts alone would take 2.5 for the whole number 2."""
    return convert(hint, tokens, converter=_convert_one)


def _convert_one(kind: type, word: str) -> Any:
    if kind is not int:
        return kind(word)
    try:
        return int(word)
    except ValueError:
        number = float(word)  # 1e6 is a whole number too
        if not number.is_integer():
            raise ValueError(f"{word} is no whole number") from None
        return int(number)


@functools.cache
def _docs(kind: type) -> Mapping[str, str]:
    """The docstrings below the fields of a class and its bases: a parse of their source."""
    docs: dict[str, str] = {}
    for cls in reversed(kind.__mro__):
        if dataclasses.is_dataclass(cls):
            parsed = docstring_parser.parse_from_object(cls)
            docs |= {p.arg_name: p.description for p in parsed.params if p.description}
    return docs
