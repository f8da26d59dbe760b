"""The options that every run has; each experiment adds its own.

An option is a field: its constraint stands in its type, its help text below it. Nothing here, and
nothing in a module of options, loads JAX: `sobirl run X --help` answers at once.
"""

import abc
import dataclasses
import inspect
import math
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Lt

from sobirl.core.errors import InvalidInputError
from sobirl.runs.arguments import to_arguments
from sobirl.runs.benchmark import Benchmark
from sobirl.runs.curves import Curve
from sobirl.runs.decoding import check_fields, encode, typed
from sobirl.runs.metrics import require_tensorboard

if TYPE_CHECKING:
    from sobirl.bilevel.recorder import Recorder
    from sobirl.runs.journal import Journal
    from sobirl.runs.outcome import Outcome
    from sobirl.runs.saved import SavedRun

Count = Annotated[int, Ge(1), Lt(2**31)]
Whole = Annotated[int, Ge(0), Lt(2**31)]
Seed = Annotated[int, Ge(0), Lt(2**32)]
Positive = Annotated[float, Gt(0), Lt(math.inf)]
PositiveOrInf = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0), Lt(math.inf)]
Finite = Annotated[float, Gt(-math.inf), Lt(math.inf)]
Discount = Annotated[float, Ge(0), Lt(1)]
Share = Annotated[float, Ge(0), Lt(1)]


def aside(default: Any) -> Any:
    """A field that says how a run is carried out, not what is computed."""
    return dataclasses.field(default=default, metadata={"aside": True})


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions(abc.ABC):
    """Options of `sobirl run PROBLEM`."""

    problem: ClassVar[str]
    """The name by which the command line knows it."""
    curves: ClassVar[Sequence[Curve]] = (
        Curve("objective"),
        Curve("projected_gradient_norm", "hypergradient_norm", label="norm of ∇φ", log=True),
    )
    """What a report draws of such runs."""
    values: ClassVar[Sequence[str]] = ()
    """The metrics of `summary.json` that a report shows; all of them by default."""

    benchmarks: ClassVar[Sequence[Benchmark]] = ()
    """What `sobirl bench` compares of such runs."""
    batched: ClassVar[Sequence[str]] = ()
    """The options in which runs may differ that `run_batch` computes in one program."""

    out: Path | None = aside(None)
    """Directory of the run, made new. By default runs/PROBLEM-N with the first free N."""
    force: bool = aside(False)
    """Replace the run that is already in that directory."""
    seed: Seed = 0
    """Seed of everything random: the same seed gives the same run."""
    quiet: bool = aside(False)
    """Show no progress bar."""
    figures: bool = aside(True)
    """Draw the figures at the end, which takes half a second or more."""

    def __init_subclass__(cls, **more: Any):
        super().__init_subclass__(**more)
        if "problem" in inspect.get_annotations(cls):
            raise TypeError(f"{cls.__name__}.problem: write it without a type, or it is an option")

    @staticmethod
    def called(name: str) -> str:
        """An option as people call it, for messages."""
        return typed(name)

    @property
    def command(self) -> list[str]:
        """The words of the command that repeats the run."""
        elsewhere = ("out", "force", "quiet", "figures")
        own = {name: value for name, value in encode(self).items() if name not in elsewhere}
        return [*self._words, "run", self.problem, *to_arguments(type(self), own)]

    @property
    def program(self) -> dict[str, Any]:
        """What `config.json` says of the program that made the run, where it is not sobirl."""
        return {} if self._words == ["sobirl"] else {"program": self._words}

    @property
    def _words(self) -> list[str]:
        """How the program is called that knows this experiment: a stranger's is in a script."""
        ours = type(self).__module__.partition(".")[0] == "sobirl"
        return ["sobirl"] if ours else ["python", sys.argv[0]]

    @property
    def progress(self) -> bool | None:
        """What `minimize` is given: no bar, or one on a terminal."""
        return False if self.quiet else None

    def validate(self) -> None:
        """Raise InvalidInputError for options that no run can have; nothing is computed yet.

        Experiments add their own checks, of what goes together and of files.
        """
        check_fields(self, self.called)

    def learned(self, saved: "SavedRun") -> dict[str, Any]:
        """What `sobirl.load_run` gives beside x and the history: `problem`, `policy`, `reward`.

        The policy and the reward of a `problem` follow from it.
        """
        return {}

    @abc.abstractmethod
    def run(self, recorder: "Recorder | None" = None) -> "Outcome":
        """Compute everything; write nothing but what the recorder keeps of a run of many steps."""

    @property
    def kept(self) -> Sequence[str]:
        """What is kept of the directory although there is no checkpoint yet, if it is there."""
        return ()

    @classmethod
    def run_batch(
        cls, runs: Sequence[Any], recorders: "Sequence[Recorder | None]"
    ) -> "list[Outcome]":
        """As `run`, of several runs that are alike but for `batched`, in one program.

        Raises:
            InvalidInputError: they cannot share a program; each can be run alone.
        """
        raise InvalidInputError(f"{cls.problem}: runs of it share no program")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepwiseOptions(RunOptions):
    """Options of the runs that take many steps: they are recorded and can be resumed."""

    time_limit: Positive | None = None
    """End after so many seconds of steps, whatever is done by then; compilation does not count. How
    far a run comes then depends on the machine."""
    tensorboard: bool = aside(False)
    """Write the metrics as TensorBoard events too, into the folder tensorboard of the run."""
    checkpoint_seconds: NotNegative = aside(10.0)
    """The least time between two checkpoints; 0 makes one after every few steps."""

    @property
    def journal(self) -> "type[Journal]":
        """What records the steps."""
        from sobirl.runs.journal import BestStartJournal

        return BestStartJournal

    def validate(self) -> None:
        """Check the options."""
        super().validate()
        if self.tensorboard:
            require_tensorboard()


@dataclasses.dataclass(frozen=True)
class Choices:
    """A constraint on text: one of some names, which are asked for when they are needed.

    A table that others may add to, such as `METHODS`, thus says what an option may be:

        method: Annotated[str, Choices(lambda: methods_for("return"))] = "exact"
    """

    names: Callable[[], Sequence[str]]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """How pydantic checks it."""
        from pydantic_core import PydanticCustomError, core_schema

        def check(value: str) -> str:
            names = self.names()
            if value not in names:
                raise PydanticCustomError(
                    "choice", "should be one of {names}", {"names": ", ".join(names)}
                )
            return value

        return core_schema.no_info_after_validator_function(check, core_schema.str_schema())


def choices_of(kind: type[RunOptions], option: str) -> tuple[str, ...]:
    """The names that an option may have, from its type; none where it may be anything."""
    hint = typing.get_type_hints(kind, include_extras=True)[option]
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    found = [part for part in typing.get_args(hint) if isinstance(part, Choices)]
    return tuple(found[0].names()) if found else ()


def require(name: str, value: Any, holds: bool, requirement: str) -> None:
    """Raise unless an option holds, naming it as it is typed.

    Raises:
        InvalidInputError: with the option, the requirement and the value.
    """
    if not holds:
        raise InvalidInputError(f"{name} {requirement}, got {value}")
