"""`sobirl run random-incentives`: a small problem for every method that follows trajectories."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from sobirl.experiments.descent import DescentOptions
from sobirl.hypergrad.methods import methods_for
from sobirl.runs.benchmark import Benchmark
from sobirl.runs.options import Choices, Count

if TYPE_CHECKING:
    from sobirl.bilevel import BilevelProblem


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomIncentivesRun(DescentOptions):
    """Random incentives: pay a follower in a random MDP so that the leader's return rises.

    By default with the eligibility trace: sobirl run random-incentives --method advantage-trace
    """

    problem = "random-incentives"
    objective_label = "minus the leader's return"
    benchmarks = (
        Benchmark(
            measure="objective",
            first="objective_at_first",
            label="minus the leader's return",
            options={"num_steps": 100},
            full={"num_steps": 2000},
            larger_is_better=False,
        ),
    )

    states: Annotated[int, Ge(2)] = 6
    """Number of states S."""
    actions: Count = 3
    """Number of actions A."""
    dimension: Count = 4
    """Number of incentives n."""
    method: Annotated[str, Choices(lambda: methods_for("return"))] = "advantage-trace"
    """How to get the hyper-gradient."""

    def instance(self) -> "tuple[BilevelProblem, Any]":
        """A random instance."""
        from sobirl.problems.random_incentives import RandomIncentives

        sizes = self.states, self.actions, self.dimension
        instance = RandomIncentives.generate(*sizes, seed=self.seed)
        return instance.problem(), instance.x0()
