"""`sobirl run reward-shaping`: options; what needs JAX is loaded late."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Annotated, Any, Literal

from sobirl.hypergrad.methods import methods_for
from sobirl.runs.benchmark import Benchmark
from sobirl.runs.options import Choices, Count, Discount, Positive, StepwiseOptions

if TYPE_CHECKING:
    from sobirl.bilevel import Recorder
    from sobirl.problems.reward_shaping import RewardShaping
    from sobirl.runs.outcome import Outcome
    from sobirl.runs.saved import SavedRun


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewardShapingRun(StepwiseOptions):
    """Reward shaping: hints for a walker that looks too few steps ahead to find the goal.

    A potential by default; try --form free, and --form own, which can change nothing.
    """

    problem = "reward-shaping"
    values = ("leader_return_without_hints", "leader_return", "best_leader_return")
    benchmarks = (
        Benchmark(
            measure="leader_return",
            first="leader_return_without_hints",
            label="the leader's return",
            options={"num_steps": 60, "learning_rate": 0.05},
            full={"num_steps": 500},
        ),
    )

    form: Literal["free", "potential", "own"] = "potential"
    """What cells pay, a potential with the leader's discount, or one with the walker's own."""
    discount: Discount = 0.7
    """The walker's discount; the leader's is 0.99."""
    temperature: Positive = 0.01
    """The walker's entropy weight, in units of the goal's reward."""
    bound: Positive = 1.0
    """The most that a cell's number may be, up or down."""
    method: Annotated[str, Choices(lambda: methods_for("return"))] = "exact"
    """How to get the hyper-gradient."""
    environment_steps: Count = 10_000
    """Steps that a method which samples takes for each of its estimates."""
    num_steps: Count = 150
    """Outer steps, from no hints on."""
    learning_rate: Positive = 0.03
    """Step size of Adam."""
    tolerance: Positive = 1e-4
    """`converged` means that the norm of the projected hyper-gradient fell below this."""

    def learned(self, saved: "SavedRun") -> dict[str, Any]:
        """The bilevel problem."""
        return {"problem": self.shaping.problem()}

    def run(self, recorder: "Recorder | None" = None) -> "Outcome":
        """Learn the hints, and compare the walker with and without them."""
        from sobirl.experiments.reward_shaping.run import run

        return run(self, recorder)

    @functools.cached_property
    def shaping(self) -> "RewardShaping":
        """The instance."""
        from sobirl.problems.reward_shaping import RewardShaping

        return RewardShaping(self.form, self.discount, self.temperature)
