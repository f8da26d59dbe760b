"""The cells of a sweep: each one is a run, known by what is run in it."""

import dataclasses
import difflib
import functools
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sobirl.core.errors import InvalidInputError
from sobirl.experiments.registry import EXPERIMENTS
from sobirl.runs.configuration import sha256
from sobirl.runs.decoding import decode, encode
from sobirl.runs.inputs import file_in, moved
from sobirl.runs.options import RunOptions

# What a sweep decides for its runs.
_OURS = ("out", "force", "quiet")
_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a sweep: `Cell("random-mdp", {"method": "exact", "seed": 3})`.

    Attributes:
        command: a name of `EXPERIMENTS`, as after `sobirl run`.
        options: those that are given, by name; values as a JSON file would have them.
    """

    command: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def run_options(self) -> RunOptions:
        """The options as the command itself has them, every field within its type.

        Raises:
            InvalidInputError: there is no such command or option, or a value is none of its.
        """
        if self.command not in EXPERIMENTS:
            raise InvalidInputError(
                f"command {self.command!r} does not exist{meant(self.command, EXPERIMENTS)}; "
                f"there are {', '.join(EXPERIMENTS)}"
            )
        kind = EXPERIMENTS[self.command]
        names = [field.name for field in dataclasses.fields(kind) if field.name not in _OURS]
        for name in self.options:
            if name in _OURS:
                raise InvalidInputError(f"option {name!r} is the sweep's own; leave it out")
            if name not in names:
                raise InvalidInputError(
                    f"{self.command} has no option {name!r}{meant(name, names)}"
                )
        options = decode(kind, dict(self.options))
        paths = {
            name: moved(value, path.absolute())
            for name, value in vars(options).items()
            if (path := file_in(value)) is not None
        }
        changes: dict[str, Any] = {"quiet": True, **paths}
        return dataclasses.replace(options, **changes)

    @functools.cached_property
    def id(self) -> str:
        """The command, and a hash of the options that are not their defaults.

        An input file counts by its contents, not by its path; how a run is carried out (the
        seconds between checkpoints, say) does not count.
        """
        chosen = {}
        for field in dataclasses.fields(self.run_options):
            value = getattr(self.run_options, field.name)
            if field.metadata.get("aside") or value == field.default:
                continue
            given, path = encode(self.run_options)[field.name], file_in(value)
            is_file = path is not None and path.is_file()
            chosen[field.name] = moved(given, sha256(path)) if is_file else given
        text = json.dumps([self.command, chosen], sort_keys=True)
        return f"{self.command}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"

    @property
    def explicit(self) -> dict[str, Any]:
        """The given options in what JSON has, paths absolute: for a process in another folder."""
        values = encode(self.run_options)
        return {name: values[name] for name in self.options}

    @property
    def program(self) -> str:
        """What cells have in common that may be computed in one program."""
        kind = type(self.run_options)
        if not kind.batched:
            return self.id
        values = encode(self.run_options)
        asides = [field.name for field in dataclasses.fields(kind) if field.metadata.get("aside")]
        kept = {n: v for n, v in values.items() if n not in (*asides, *kind.batched)}
        return json.dumps([self.command, kept], sort_keys=True)

    def named(self, varied: Collection[str]) -> str:
        """The cell for people: its command and those of its options.

        Args:
            varied: the options by which it is to be told from others.
        """
        values = ((name, self.options[name]) for name in varied if name in self.options)
        return " ".join([self.command, *(f"{name}={_word(value)}" for name, value in values)])


def varied(cells: Sequence[Cell]) -> list[str]:
    """The options that differ between cells, in the order in which cells give them; seed last."""
    names = list(dict.fromkeys(name for cell in cells for name in cell.options))
    values = {
        name: {json.dumps(cell.options.get(name, "default"), default=str) for cell in cells}
        for name in names
    }
    found = [name for name in names if len(values[name]) > 1 and name != "seed"]
    return [*found, "seed"]


def check(cells: Sequence[Cell]) -> None:
    """Raise unless every cell can be run and none is there twice; nothing is computed.

    Raises:
        InvalidInputError: listing every mistake, with the first cell that has it.
    """
    if not cells:
        raise InvalidInputError("there are no cells")
    names = varied(cells)
    mistakes: dict[str, list[Cell]] = {}
    first: dict[str, Cell] = {}
    for cell in cells:
        try:
            cell.run_options.validate()
        except InvalidInputError as error:
            mistakes.setdefault(str(error), []).append(cell)
            continue
        if cell.id in first:
            message = f"is the same run as {first[cell.id].named(names)}"
            mistakes.setdefault(message, []).append(cell)
        first.setdefault(cell.id, cell)
    if mistakes:
        wrong = sum(map(len, mistakes.values()))
        lines = [_mistake(message, having, names) for message, having in mistakes.items()]
        more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        raise InvalidInputError(
            f"{wrong} of {len(cells)} cells cannot be run: {'; '.join([*lines[:_SHOWN], *more])}"
        )


def meant(name: str, names: Iterable[str]) -> str:
    """The name that somebody may have meant, as a remark."""
    close = difflib.get_close_matches(name, list(names), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _mistake(message: str, cells: Sequence[Cell], names: Collection[str]) -> str:
    others = f" (and {len(cells) - 1} more)" if len(cells) > 1 else ""
    return f"{cells[0].named(names)}{others}: {message}"


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
