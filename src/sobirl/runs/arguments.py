"""Options from command-line arguments and back, with errors of one line."""

import contextlib
import dataclasses
import io
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

from sobirl.core.errors import InvalidInputError
from sobirl.runs.options import RunOptions


def parsed(parse: Callable[[], Any]) -> Any:
    """What a call of tyro returns; its boxed explanation of what is wrong becomes one line.

    Raises:
        InvalidInputError: the arguments do not fit.
    """
    explanation = io.StringIO()
    try:
        with contextlib.redirect_stderr(explanation):
            return parse()
    except SystemExit as exit_:
        if exit_.code in (0, None):
            raise
        raise InvalidInputError(_one_line(explanation.getvalue())) from None


def to_arguments(options: RunOptions | type[RunOptions], values: dict[str, Any]) -> list[str]:
    """The arguments that give an experiment these values; defaults and None are left out.

    Args:
        options: the experiment.
        values: field name -> value, as `vars(options)` or a `config.json` has them.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(options)}
    arguments = []
    for name, value in values.items():
        several = isinstance(value, (list, tuple))
        default = defaults.get(name)
        if value is None or (tuple(value) if several else value) == default:
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(f"--{flag}" if value else f"--no-{flag}")
        elif several:
            arguments += [f"--{flag}", *map(str, value)]
        else:
            text = str(value)  # one that begins with a minus would be taken for an option
            arguments += [f"--{flag}={text}"] if text.startswith("-") else [f"--{flag}", text]
    return arguments


def from_arguments(experiment: type[RunOptions], arguments: Sequence[str]) -> RunOptions:
    """The options of an experiment.

    Raises:
        InvalidInputError: the arguments do not fit; in one line.
    """
    import tyro  # here, so that reading about runs needs no command line

    prog = f"sobirl run {experiment.problem}"
    return parsed(lambda: tyro.cli(experiment, prog=prog, args=arguments))


def _one_line(box: str) -> str:
    """Tyro's boxed explanation as a sentence: what is wrong, and what it suggests instead."""
    plain = re.sub("\x1b\\[[0-9;]*m", "", box)  # colors, on a terminal
    rows = [row.strip("│╭╮╰╯| ") for row in plain.splitlines()][1:]  # the first is a title
    sections = [
        [row for row in section if row]
        for is_rule, section in itertools.groupby(rows, lambda row: set(row) in ({"─"}, {"-"}))
        if not is_rule
    ]
    sections = [section for section in sections if section]
    message = " ".join(sections[0]) if sections else "unusable arguments"
    for section in sections[1:]:
        if section[0] == "Perhaps you meant:":
            message += f"; perhaps you meant {section[1]}"
        elif section[0].startswith("Available subcommands:"):
            message += f"; a{' '.join(section)[1:]}"
    return f"{message} (see sobirl --help)"
