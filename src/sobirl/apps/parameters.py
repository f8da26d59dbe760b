"""Options as the command line shows them: one keyword a field, with help from its docstring."""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import docstring_parser
from cyclopts import App, Group, Parameter

from sobirl.runs.decoding import typed
from sobirl.runs.options import Choices, RunOptions, StepwiseOptions

_OWN = Group("Options", sort_key=0)
_OF_ALL_RUNS = Group("Options of every run", sort_key=1)


def new_app(**options: Any) -> App:
    """An app in which an option takes all the values that follow it."""
    parameter = Parameter(consume_multiple=True, negative=())
    return App(default_parameter=parameter, help_format="plaintext", **options)


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
        for field in dataclasses.fields(kind)
    ]
    cache = "Keep compiled programs, so that the next run need not compile them again."
    parameters.append(_parameter("cache", bool, True, cache, _OF_ALL_RUNS))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__doc__ = inspect.cleandoc(kind.__doc__ or "")
    return command


def _parameter(name: str, hint: Any, default: Any, text: str, group: Group) -> inspect.Parameter:
    shown = Parameter(
        name=typed(name),
        help=" ".join(text.split()),
        group=group,
        negative=f"--no-{name.replace('_', '-')}" if default is True else "",
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[_named(hint), shown],
    )


def _named(hint: Any) -> Any:
    """A type in which what `Choices` allows is spelled out; the constraints are checked later."""
    if typing.get_origin(hint) is Annotated:
        kind, *constraints = typing.get_args(hint)
        choices = next((c for c in constraints if isinstance(c, Choices)), None)
        return kind if choices is None else Literal[tuple(choices.names())]
    return hint


def _docs(kind: type) -> Mapping[str, str]:
    """The docstrings below the fields of a class and its bases."""
    docs: dict[str, str] = {}
    for cls in reversed(kind.__mro__):
        if dataclasses.is_dataclass(cls):
            parsed = docstring_parser.parse_from_object(cls)
            docs |= {p.arg_name: p.description for p in parsed.params if p.description}
    return docs
