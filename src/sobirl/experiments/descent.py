"""What experiments have in common that descend with any method from one start."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sobirl.runs.options import Count, Positive, StepwiseOptions

if TYPE_CHECKING:
    from sobirl.bilevel import BilevelProblem, Recorder
    from sobirl.runs.outcome import Outcome
    from sobirl.runs.saved import SavedRun


@dataclasses.dataclass(frozen=True, kw_only=True)
class DescentOptions(StepwiseOptions):
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

    def run(self, recorder: "Recorder | None" = None) -> "Outcome":
        """Descend, and judge the last x."""
        import optax
        from rich.table import Table

        from sobirl.bilevel import minimize
        from sobirl.hypergrad.budget import with_budget
        from sobirl.runs.curves import draw_history
        from sobirl.runs.outcome import Outcome, best_history, summarize_result, warnings

        problem, x0 = self.instance()
        method, judged = with_budget(self.method, problem, self.environment_steps)
        result = minimize(
            judged,
            x0,
            method=method,
            optimizer=getattr(optax, self.optimizer)(self.learning_rate),
            num_steps=self.num_steps,
            key=self.seed,
            tolerance=self.tolerance,
            progress=self.progress,
            recorder=recorder,
        )
        history = best_history(result)
        before, after = (self.judge(problem, x) for x in (x0, result.final_x))
        table = Table(title=f"{self.problem}, {self.method}")
        table.add_column("")
        table.add_column(self.objective_label, justify="right")
        table.add_row("first x", f"{before:.6g}")
        table.add_row(f"after {result.steps} steps", f"[bold]{after:.6g}[/bold]")
        return Outcome(
            summary=summarize_result(
                result,
                result.status,
                objective=after,
                problem=self.problem,
                method=self.method,
                metrics={"objective": after, "objective_at_first": before},
            ),
            history=history,
            report=[table, *warnings(result)],
            figures={"convergence": lambda: draw_history(self.curves, self.method, history)},
            x=result.final_x,
            result=result,
        )
