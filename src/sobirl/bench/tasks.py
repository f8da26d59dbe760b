"""The tasks that experiments declare, and the runs of a benchmark: cells of a sweep."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sobirl.core.errors import InvalidInputError
from sobirl.experiments.registry import EXPERIMENTS
from sobirl.runs.benchmark import Benchmark
from sobirl.runs.options import RunOptions, choices_of
from sobirl.sweeps.cells import Cell, meant


@dataclasses.dataclass(frozen=True)
class Budget:
    """What every run may use; the tasks' own budgets by default.

    Attributes:
        full: the published budgets, in the place of those that end soon.
        environment_steps: of a whole run, for methods that sample; others read the model.
        seconds: of a run's steps, without compilation; they end the published budgets.
    """

    full: bool = False
    environment_steps: int | None = None
    seconds: float | None = None

    def options(self, kind: type[RunOptions], benchmark: Benchmark) -> dict[str, Any]:
        """The options of a run that has it.

        Raises:
            InvalidInputError: fewer environment steps than outer steps.
        """
        long = self.full or self.seconds is not None
        chosen = {**benchmark.options, **(benchmark.full if long else {})}
        names = {field.name: field for field in dataclasses.fields(kind)}
        if self.environment_steps is not None and benchmark.steps is not None:
            chosen[benchmark.steps] = self.environment_steps
        elif self.environment_steps is not None and "environment_steps" in names:
            steps = chosen.get("num_steps", names["num_steps"].default)
            each = self.environment_steps // steps
            if each < 1:
                raise InvalidInputError(
                    f"environment_steps: should be 1 for each of the {steps} outer steps of "
                    f"{benchmark.name or kind.problem}, got {self.environment_steps} in all"
                )
            chosen["environment_steps"] = each
        if self.seconds is not None:
            chosen["time_limit"] = self.seconds
        return chosen


@dataclasses.dataclass(frozen=True)
class Task:
    """A problem with the way in which its runs are compared.

    Attributes:
        name: of the task.
        kind: the experiment.
        benchmark: what it declares.
    """

    name: str
    kind: type[RunOptions]
    benchmark: Benchmark

    @property
    def methods(self) -> list[str]:
        """Those that can work on it."""
        return list(choices_of(self.kind, "method"))

    def cell(self, method: str, seed: int, budget: Budget) -> Cell:
        """One run."""
        options = budget.options(self.kind, self.benchmark)
        return Cell(self.kind.problem, {**options, "method": method, "seed": seed})


def tasks() -> dict[str, Task]:
    """All tasks by name, in the order of the experiments."""
    found = [
        Task(benchmark.name or kind.problem, kind, benchmark)
        for kind in EXPERIMENTS.values()
        for benchmark in kind.benchmarks
    ]
    return {task.name: task for task in found}


def cells_of(
    names: Sequence[str], methods: Sequence[str], seeds: int, budget: Budget
) -> dict[str, dict[str, list[Cell]]]:
    """Task -> method -> its runs, one a seed.

    Args:
        names: of tasks; if there are none the quick ones, with `--full` all.
        methods: of each task those that it has; all of them if there are none.
        seeds: how many, from 0 on.
        budget: of every run.

    Raises:
        InvalidInputError: there is no such task, a method that no chosen task has, or no seed.
    """
    known = tasks()
    chosen = [_task(name, known) for name in names] or [
        task for task in known.values() if budget.full or task.benchmark.quick
    ]
    offered = list(dict.fromkeys(method for task in chosen for method in task.methods))
    for method in methods:
        if method not in offered:
            raise InvalidInputError(
                f"methods: none of the tasks has {method!r}{meant(method, offered)}; they have "
                f"{', '.join(offered)}"
            )
    if seeds < 1:
        raise InvalidInputError(f"seeds: must be at least 1, got {seeds}")
    return {
        task.name: {
            method: [task.cell(method, seed, budget) for seed in range(seeds)]
            for method in task.methods
            if not methods or method in methods
        }
        for task in chosen
    }


def _task(name: str, known: Mapping[str, Task]) -> Task:
    if name not in known:
        raise InvalidInputError(
            f"tasks: there is no {name!r}{meant(name, known)}; there are {', '.join(known)}"
        )
    return known[name]
