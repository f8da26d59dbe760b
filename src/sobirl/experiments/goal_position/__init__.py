"""`sobirl run goal-position`: options; what needs JAX is loaded late."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Le

from sobirl.experiments.cooling import CoolingOptions
from sobirl.hypergrad.methods import methods_for
from sobirl.runs.benchmark import Benchmark
from sobirl.runs.options import Choices

if TYPE_CHECKING:
    from sobirl.bilevel import Recorder
    from sobirl.problems.goal_position import GoalPosition
    from sobirl.runs.outcome import Outcome
    from sobirl.runs.saved import SavedRun


@dataclasses.dataclass(frozen=True, kw_only=True)
class GoalPositionRun(CoolingOptions):
    """Goal position (after Zeng et al. 2026): put a goal where the way to it does what you want.

    A follower that is decided from the start: sobirl run goal-position --first-temperature 0.001
    """

    problem = "goal-position"
    values = ("leader_value", "leader_value_at_first", "best_leader_value")
    benchmarks = (
        Benchmark(
            measure="leader_value",
            first="leader_value_at_first",
            label="the leader's value",
            options={"num_steps": 200},
            full={"num_steps": 2000},
            quick=False,
        ),
    )

    size: Annotated[int, Ge(6), Le(60)] = 10
    """Cells on a side."""
    method: Annotated[str, Choices(lambda: methods_for("return"))] = "exact"
    """How to get the hyper-gradient."""

    def learned(self, saved: "SavedRun") -> dict[str, Any]:
        """The bilevel problem."""
        return {"problem": self.instance.problem()}

    def run(self, recorder: "Recorder | None" = None) -> "Outcome":
        """Find the goal, and compare it with every other one."""
        from sobirl.experiments.goal_position.run import run

        return run(self, recorder)

    @functools.cached_property
    def instance(self) -> "GoalPosition":
        """The instance."""
        from sobirl.problems.goal_position import GoalPosition

        return GoalPosition(self.size, self.temperature)
