"""`sweep.toml`: grids, random search and seeds, expanded into cells."""

import itertools
import math
import random
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Len
from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, ValidationError
from pydantic import model_validator as check_model

from sobirl.core.errors import InvalidInputError
from sobirl.runs.options import Count, Seed, Whole
from sobirl.sweeps.cells import Cell, meant

Values = Annotated[list[Any], Len(1)]
_DRAWS = 100  # for each sample that is to differ from those before


class Draw(BaseModel):
    """What a random option is drawn from: `{low = 1e-3, high = 0.1, log = true}` or `{choices}`.

    Attributes:
        low, high: the ends of a uniform distribution; of whole numbers if both are.
        log: whether the logarithm is uniform.
        choices: values, one as likely as another.
    """

    model_config = ConfigDict(extra="forbid")
    low: StrictInt | StrictFloat | None = None
    high: StrictInt | StrictFloat | None = None
    log: bool = False
    choices: Values | None = None

    @check_model(mode="after")
    def _consistent(self):
        if (self.choices is None) == (self.low is None and self.high is None):
            raise ValueError("should have either choices, or low and high")
        if self.choices is not None:
            if self.log:
                raise ValueError("should have no log beside choices")
            return self
        if self.low is None or self.high is None:
            raise ValueError("should have both low and high")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError("should have a low below its high, both finite")
        if self.log and self.low <= 0:
            raise ValueError("should have a positive low with log")
        return self

    def draw(self, rng: random.Random) -> Any:
        """One value; a number that is not whole has six digits, which suffice and can be read."""
        if self.choices is not None:
            return rng.choice(self.choices)
        low, high = self.low, self.high
        assert low is not None and high is not None  # `_consistent`
        if isinstance(low, int) and isinstance(high, int) and not self.log:
            return rng.randint(low, high)
        ends = (math.log(low), math.log(high)) if self.log else (low, high)
        value = rng.uniform(*ends)
        value = math.exp(value) if self.log else value
        whole = isinstance(low, int) and isinstance(high, int)
        return min(max(round(value) if whole else float(f"{value:.6g}"), low), high)


class Part(BaseModel):
    """The product of its commands, grid, random samples and seeds.

    Attributes:
        command: a name of `sobirl list`, or several.
        fixed: option -> value, of every cell.
        grid: option -> values, of which every combination is a cell.
        random: option -> what it is drawn from.
        samples: how many random combinations there are.
        sample_seed: the seed of that search.
        seeds: a number of seeds from 0 on, or the seeds.
    """

    model_config = ConfigDict(extra="forbid")
    command: str | Annotated[list[str], Len(1)] | None = None
    fixed: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, Values] = Field(default_factory=dict)
    random: dict[str, Draw] = Field(default_factory=dict)
    samples: Count | None = None
    sample_seed: Whole = 0
    seeds: Count | Annotated[list[Seed], Len(1)] = 1


class SweepConfig(Part):
    """A whole sweep.

    Attributes:
        part: several parts; what stands above them holds for all, and a part's own wins.
        modules: modules with commands and methods of your own, found from the current folder.
    """

    part: list[Part] = Field(default_factory=list)
    modules: list[str] = Field(default_factory=list)

    def cells(self) -> list[Cell]:
        """Every cell, in order: by part, command, grid and sample, the seeds last.

        Raises:
            InvalidInputError: a part has no command, names an option twice, or asks for more
                samples than there are.
        """
        if not self.part:
            return list(_expand(self, ""))
        numbered = enumerate(self.part, 1)
        return [cell for n, part in numbered for cell in _expand(self._merged(part), f"part {n}: ")]

    def _merged(self, part: Part) -> Part:
        above = {name: getattr(self, name) for name in Part.model_fields}
        own = {name: getattr(part, name) for name in part.model_fields_set}
        tables = ("fixed", "grid", "random")
        own_options = {_field(option) for table in tables for option in own.get(table, {})}
        for table in tables:  # an option of the part's wins, in whatever table it stands
            kept = {o: v for o, v in above[table].items() if _field(o) not in own_options}
            own[table] = kept | own.get(table, {})
        if not own["random"] and "samples" not in own:
            own["samples"] = None
        return Part.model_construct(**(above | own))


def read_config(path: Path) -> SweepConfig:
    """Read the description of a sweep.

    Raises:
        InvalidInputError: there is no such file, it is no TOML, or has a key or a value that it
            cannot have; every such mistake is listed.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInputError(f"{path}: there is no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: is no TOML: {error}") from None
    try:
        return as_config(content)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from None


def as_config(content: Mapping[str, Any]) -> SweepConfig:
    """A sweep from what a TOML file would hold.

    Raises:
        InvalidInputError: as `read_config`.
    """
    try:
        return SweepConfig.model_validate(content)
    except ValidationError as error:
        places: dict[tuple[str, str], list[str]] = {}  # of a union every member complains
        for entry in error.errors():
            place, sentence, value = _mistake(entry)
            places.setdefault((place, value), []).append(sentence)
        found = (f"{p} {' or '.join(dict.fromkeys(s))}{value}" for (p, value), s in places.items())
        raise InvalidInputError("; ".join(found)) from None


def _expand(part: Part, where: str) -> Iterator[Cell]:
    """The cells of one part."""
    if part.command is None:
        raise InvalidInputError(f'{where}command is missing, for example command = "random-mdp"')
    if part.random and part.samples is None:
        raise InvalidInputError(f"{where}samples is missing: how many random combinations there be")
    if part.samples is not None and not part.random:
        raise InvalidInputError(f"{where}samples needs a table [random] of options to draw")
    tables = {"fixed": part.fixed, "grid": part.grid, "random": part.random}
    owner: dict[str, str] = {}
    for table, options in tables.items():
        for option in options:
            if _field(option) == "seed":
                raise InvalidInputError(f"{where}{table}.seed: give seeds = [...] instead")
            if _field(option) in owner:
                raise InvalidInputError(
                    f"{where}{table}.{option}: is given in [{owner[_field(option)]}] too"
                )
            owner[_field(option)] = table
    commands = [part.command] if isinstance(part.command, str) else part.command
    seeds = range(part.seeds) if isinstance(part.seeds, int) else part.seeds
    grid = [[(_field(name), v) for v in values] for name, values in part.grid.items()]
    fixed = {_field(name): value for name, value in part.fixed.items()}
    for command, point, sample, seed in itertools.product(
        commands, list(itertools.product(*grid)), _samples(part, where), seeds
    ):
        yield Cell(command, {**fixed, **dict(point), **sample, "seed": seed})


def _samples(part: Part, where: str) -> list[dict[str, Any]]:
    """Random combinations, no two alike; of more samples, the first are the same ones."""
    if part.samples is None:
        return [{}]
    rngs = {name: random.Random(f"{part.sample_seed} {name}") for name in part.random}
    found: dict[str, dict[str, Any]] = {}
    for _ in range(_DRAWS * part.samples):
        drawn = {_field(name): part.random[name].draw(rng) for name, rng in rngs.items()}
        found.setdefault(repr(drawn), drawn)
        if len(found) == part.samples:
            return list(found.values())
    raise InvalidInputError(
        f"{where}samples: [random] has only {len(found)} different combinations, got {part.samples}"
    )


def _field(option: str) -> str:
    """An option's name, also where it is written as on the command line."""
    return option.removeprefix("--").replace("-", "_")


def _mistake(entry: Any) -> tuple[str, str, str]:
    """Where a mistake is, what pydantic asks for there, and what there was."""
    unions = ("[", "constrained-")
    steps = [str(p) for p in entry["loc"] if not any(word in str(p) for word in unions)]
    place = [step for step in steps if step not in ("int", "str", "float")]
    where = ".".join(place)
    if entry["type"] == "extra_forbidden":
        kind = Draw if "random" in place[:-1] else Part if len(place) > 1 else SweepConfig
        return where, f"is unknown{meant(place[-1], kind.model_fields)}", ""
    message = entry["msg"].removeprefix("Input ").removeprefix("Value error, ")
    value = "" if isinstance(entry["input"], dict) else f", got {entry['input']!r}"
    return where, f"{message[0].lower()}{message[1:]}", value
