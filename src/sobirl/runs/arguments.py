"""The arguments that repeat a run, for people to copy."""

import dataclasses
from typing import TYPE_CHECKING, Any

from sobirl.runs.decoding import typed

if TYPE_CHECKING:
    from sobirl.runs.options import RunOptions


def to_arguments(options: "type[RunOptions]", values: dict[str, Any]) -> list[str]:
    """The arguments that give an experiment these values; defaults and None are left out.

    Args:
        options: the experiment.
        values: field name -> value, as `encode` or a `config.json` has them.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(options)}
    arguments = []
    for name, value in values.items():
        several = isinstance(value, (list, tuple))
        if value is None or (tuple(value) if several else value) == defaults.get(name):
            continue
        flag = typed(name)
        if isinstance(value, bool):
            arguments.append(flag if value else flag.replace("--", "--no-", 1))
        elif several:
            arguments += [flag, *map(str, value)]
        else:
            text = str(value)  # one that begins with a minus would be taken for an option
            arguments += [f"{flag}={text}"] if text.startswith("-") else [flag, text]
    return arguments
