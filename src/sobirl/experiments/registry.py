"""The experiments of the command line, by name: one a folder here, and whatever is put beside."""

import importlib
import pkgutil
from typing import TYPE_CHECKING

from sobirl import experiments
from sobirl.core.errors import InvalidInputError
from sobirl.runs.options import RunOptions
from sobirl.runs.record import Recorded

if TYPE_CHECKING:
    from sobirl.runs.saved import SavedRun


def _found() -> dict[str, type[RunOptions]]:
    """The options that every folder of this package has."""
    kinds = []
    for module in pkgutil.iter_modules(experiments.__path__, f"{experiments.__name__}."):
        if module.ispkg:
            names = vars(importlib.import_module(module.name)).values()
            kinds += [kind for kind in names if _is_experiment(kind, module.name)]
    return {kind.problem: kind for kind in sorted(kinds, key=lambda kind: kind.problem)}


def _is_experiment(kind: object, package: str) -> bool:
    return (
        isinstance(kind, type)
        and issubclass(kind, RunOptions)
        and hasattr(kind, "problem")
        and kind.__module__.startswith(package)
    )


# Name on the command line -> options. The mapping is open: put your own into it.
EXPERIMENTS: dict[str, type[RunOptions]] = _found()


def kind_of(run: "SavedRun") -> type[RunOptions]:
    """The options' type of a saved run.

    Raises:
        InvalidInputError: this sobirl has no such experiment.
    """
    if run.is_recorded:
        return Recorded
    if run.problem not in EXPERIMENTS:
        raise InvalidInputError(
            f"{run.path / 'config.json'}: this sobirl has no problem {run.problem!r}, which is of "
            f"another program: {run.command}"
        )
    return EXPERIMENTS[run.problem]
