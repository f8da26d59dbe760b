"""Options of `sobirl run four-rooms`."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, Literal

from sobirl.hypergrad.methods import methods_for
from sobirl.runs.benchmark import Benchmark, Published
from sobirl.runs.options import (
    Choices,
    Count,
    NotNegative,
    Positive,
    StepwiseOptions,
    require,
)

if TYPE_CHECKING:
    from sobirl.bilevel import Recorder
    from sobirl.runs.outcome import Outcome
    from sobirl.runs.saved import SavedRun


def _published() -> list[Published]:
    """Those of the first cell of the table."""
    from sobirl.problems.four_rooms import SOURCE, FourRooms

    values = FourRooms().published() or {}
    return [Published(method, value, SOURCE) for method, value in values.items()]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FourRoomsRun(StepwiseOptions):
    """Four Rooms incentive design (Thoma et al. 2024): any method, many starts.

    The default is the first cell of the published table with exact hyper-gradients; try
    --temperature 0.003 --cost-weight 3, or --method plug-in, which sees trajectories only.
    """

    problem = "four-rooms"
    values = (
        "leader_value",
        "leader_value_mean",
        "leader_value_worst",
        "leader_value_without_incentives",
    )

    benchmarks = (
        Benchmark(
            measure="leader_value",
            first="leader_value_without_incentives",
            label="the designer's value",
            options={"starts": 1, "rounds": 1, "num_steps": 60},
            full={"num_steps": 10_000},
            published=_published,
        ),
    )

    temperature: Positive = 0.001
    """The walker's entropy weight; published: 0.001, 0.003, 0.005."""
    cost_weight: NotNegative = 1.0
    """The designer's price of penalty budget; published: 1 to 5."""
    goals: Literal[1, 2] = 2
    """Both goals (Thoma et al. 2024), or the first alone (Kudo et al. 2026, with cost weight 5)."""
    method: Annotated[str, Choices(lambda: methods_for("return", "loss"))] = "exact"
    """How to get the hyper-gradient; exact, amd and pbrl use the model, the others sample."""
    environment_steps: Count = 10_000
    """Steps that a method which samples takes for each of its estimates, all goals together."""
    starts: Count = 54
    """Starts in all; they take turns in a portfolio of recipes."""
    rounds: Count = 3
    """After each round, all of which cost the same, the best third of the starts goes on."""
    num_steps: Count = 468
    """Adam steps of the starts that go on to the end."""
    learning_rate: Positive = 0.3
    """First step size of Adam; it decays to 0 along a cosine."""
    tolerance: Positive = 1e-4
    """`converged` means that the hyper-gradient's norm fell below this."""

    def validate(self) -> None:
        """Check the options."""
        super().validate()
        enough = self.num_steps >= self.rounds
        require("--num-steps", self.num_steps, enough, "should be 1 a round or more")
        enough = self.environment_steps >= 2 * self.goals
        require("--environment-steps", self.environment_steps, enough, "should be 2 a goal or more")

    def learned(self, saved: "SavedRun") -> dict[str, Any]:
        """The bilevel problem."""
        from sobirl.problems.four_rooms import GOALS, FourRooms

        design = FourRooms(self.temperature, self.cost_weight, GOALS[: self.goals])
        return {"problem": design.problem()}

    def run(self, recorder: "Recorder | None" = None) -> "Outcome":
        """Optimize the portfolio and compare the best start with the published values."""
        from sobirl.experiments.four_rooms.run import run

        return run(self, recorder)
