"""What experiments have in common that descend with any method from one start."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sobirl.runs.options import Count, Positive, StepwiseOptions

if TYPE_CHECKING:
    from sobirl.bilevel import BilevelProblem, Recorder, Result
    from sobirl.bilevel.batch import Descent
    from sobirl.core.protocols import Method
    from sobirl.runs.outcome import Outcome
    from sobirl.runs.saved import SavedRun


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneDescentOptions(StepwiseOptions):
    """Options of runs that are one descent; several that are alike can share a program."""

    batched = ("seed", "learning_rate")

    @abc.abstractmethod
    def descent(self) -> "Descent":
        """What is minimized, and how."""

    @abc.abstractmethod
    def outcome(self, result: "Result") -> "Outcome":
        """What is reported of the end of the descent."""

    def run(self, recorder: "Recorder | None" = None) -> "Outcome":
        """Descend."""
        return self.outcome(self.descent().minimize(self.progress, recorder))

    @classmethod
    def run_batch(
        cls, runs: Sequence[Any], recorders: "Sequence[Recorder | None]"
    ) -> "list[Outcome]":
        """Descend side by side."""
        from sobirl.bilevel.batch import minimize_batch

        results = minimize_batch([run.descent() for run in runs], recorders)
        return [run.outcome(result) for run, result in zip(runs, results, strict=True)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DescentOptions(OneDescentOptions):
    """Options of a descent with a method of one's choice, beside exact hyper-gradients.

    An experiment adds the options of its instance, `method`, and what is minimized: `instance`.
    """

    objective_label: ClassVar[str] = "objective"
    """What the objective is, in the table."""
    method: str
    environment_steps: Count = 2000
    """Steps that a method which samples takes for each of its estimates."""
    num_steps: Count = 200
    """Outer steps."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Adam, or plain gradient descent."""
    learning_rate: Positive = 0.03
    """Step size on x."""
    tolerance: Positive = 1e-6
    """`converged` means that the hyper-gradient's norm fell below this."""

    def instance(self) -> "tuple[BilevelProblem, Any]":
        """The problem and the first x."""
        raise TypeError(f"{type(self).__name__} has no instance")

    def learned(self, saved: "SavedRun") -> dict[str, Any]:
        """The bilevel problem."""
        return {"problem": self.instance()[0]}

    def judge(self, problem: "BilevelProblem", x: Any) -> float:
        """The objective by which x is judged: φ(x), exactly."""
        return float(problem.value(x))

    def measures(self, problem: "BilevelProblem", x: Any) -> dict[str, float]:
        """What else is told of an x, by name."""
        return {}

    def made(self, problem: "BilevelProblem") -> "tuple[Method, BilevelProblem]":
        """The method, and the problem as it takes it."""
        from sobirl.hypergrad.budget import with_budget

        return with_budget(self.method, problem, self.environment_steps)

    def descent(self) -> "Descent":
        """From the first x, by the method."""
        import optax

        from sobirl.bilevel.batch import Descent

        problem, x0 = self.instance()
        method, judged = self.made(problem)
        return Descent(
            problem=judged,
            x0=x0,
            method=method,
            optimizer=getattr(optax, self.optimizer),
            learning_rate=self.learning_rate,
            num_steps=self.num_steps,
            key=self.seed,
            tolerance=self.tolerance,
        )

    def outcome(self, result: "Result") -> "Outcome":
        """Judge the last x."""
        from rich.table import Table

        from sobirl.runs.curves import draw_history
        from sobirl.runs.outcome import Outcome, best_history, summarize_result, warnings

        problem, x0 = self.instance()
        history = best_history(result)
        before, after = (self.judge(problem, x) for x in (x0, result.final_x))
        first, last = (self.measures(problem, x) for x in (x0, result.final_x))
        table = Table(title=f"{self.problem}, {self.method}")
        table.add_column("")
        for label in (self.objective_label, *(name.replace("_", " ") for name in last)):
            table.add_column(label, justify="right")
        table.add_row("first x", *(f"{number:.6g}" for number in (before, *first.values())))
        told = (f"[bold]{number:.6g}[/bold]" for number in (after, *last.values()))
        table.add_row(f"after {result.steps} steps", *told)
        return Outcome(
            summary=summarize_result(
                result,
                result.status,
                objective=after,
                problem=self.problem,
                method=self.method,
                metrics={
                    "objective": after,
                    "objective_at_first": before,
                    **last,
                    **{f"{name}_at_first": number for name, number in first.items()},
                },
            ),
            history=history,
            report=[table, *warnings(result)],
            figures={"convergence": lambda: draw_history(self.curves, self.method, history)},
            x=result.final_x,
            result=result,
        )
