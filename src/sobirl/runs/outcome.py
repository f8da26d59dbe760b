"""What an experiment hands back: numbers to keep, tables to print, figures to draw."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sobirl.core.status import Status

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType

    from sobirl.bilevel import Result


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The end of an experiment, before anything is written.

    Attributes:
        summary: the contents of `summary.json`; see `summarize`.
        history: the columns of `metrics.csv`, one row a step: `objective`, `hypergradient_norm`
            and whatever else the method reports.
        report: what to print, for example rich tables.
        figures: file stem -> a function that draws the figure (so that matplotlib loads late).
        files: further files of the run, file name -> contents; the name may begin with a folder.
        x: what was found, a pytree of arrays, written as `x.npz`; None where there is no such x.
        result: what `minimize` returned, for a caller in Python.
    """

    summary: dict[str, Any]
    history: dict[str, np.ndarray]
    report: "list[RenderableType]"
    figures: "dict[str, Callable[[], Figure]]"
    files: Mapping[str, str | bytes] = dataclasses.field(default_factory=dict)
    x: Any = None
    result: "Result | None" = None


def best_history(result: "Result") -> dict[str, np.ndarray]:
    """The rows of the best start."""
    return {
        name: rows.reshape(result.steps, -1)[:, result.best_start]
        for name, rows in result.history.items()
    }


def warnings(result: "Result", status: Status | None = None) -> list[str]:
    """What to print of a run that did not converge, or whose followers were not solved well.

    Args:
        result: what `minimize` found.
        status: how the followers were solved in the steps and for what is reported.
    """
    sentences = [result.advice] if result.advice else []
    if status is not None and status != result.status:
        sentences.append(status.advice)
    return [f"warning: {sentence}" for sentence in sentences]


def summarize(
    *,
    problem: str,
    method: str,
    objective: float,
    metrics: dict[str, Any],
    hypergradient_norm: float,
    steps: int,
    starts: int,
    converged: bool,
    **more: Any,
) -> dict[str, Any]:
    """A `summary.json` with the entries that every run has; the engine adds the seconds."""
    return {
        "problem": problem,
        "method": method,
        "objective": objective,
        "metrics": metrics,
        "hypergradient_norm": hypergradient_norm,
        "steps": steps,
        "starts": starts,
        "converged": converged,
        **more,
    }


def summarize_result(
    result: "Result", status: Status, *, objective: float, **entries: Any
) -> dict[str, Any]:
    """A `summary.json` of what `minimize` found.

    Args:
        result: its numbers.
        status: how the followers were solved, in the steps and for what is reported.
        objective: φ at what is reported, which may be solved better than in the steps.
        entries: problem, method, metrics, and what else the experiment has to say.
    """
    if "projected_gradient_norm" in result.history:
        entries["projected_gradient_norm"] = result.projected_gradient_norm
    return summarize(
        objective=objective,
        hypergradient_norm=result.hypergradient_norm,
        steps=result.steps,
        starts=len(result.start_objectives),
        converged=result.converged,
        status=status.name.lower(),
        **entries,
    )
