"""`sobirl run building-thermal`: options; what needs JAX is loaded late."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Lt

from sobirl.experiments.descent import DescentOptions
from sobirl.runs.benchmark import Benchmark, Published
from sobirl.runs.options import Count, Positive

if TYPE_CHECKING:
    from sobirl.bilevel import BilevelProblem, Result
    from sobirl.core.protocols import Method
    from sobirl.problems.building_thermal import BuildingThermal
    from sobirl.runs.outcome import Outcome


def _published() -> list[Published]:
    from sobirl.problems.building_thermal import PUBLISHED

    return [Published(name, value, "Kudo et al. (2026)") for name, value in PUBLISHED.items()]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildingThermalRun(DescentOptions):
    """Building thermal control (Kudo et al. 2026): a building for a controller that responds.

    Exact by default; try --method sampled, which simulates buildings, --method naive, which takes
    the controller as fixed, and --method scores, the paper's formula as it stands.
    """

    problem = "building-thermal"
    objective_label = "minus the designer's return"
    values = ("leader_return", "leader_return_at_first", "leader_return_simulated", "seconds")
    benchmarks = (
        Benchmark(
            measure="leader_return",
            first="leader_return_at_first",
            label="the designer's return",
            options={"num_steps": 100, "walkers": 100},
            full={"num_steps": 2000},
            published=_published,
        ),
    )

    temperature: Positive = 0.1
    """The controller's entropy weight; published: 0.1."""
    method: Literal["exact", "sampled", "naive", "scores"] = "exact"
    """How to get the hyper-gradient."""
    environment_steps: Annotated[int, Ge(400), Lt(2**31)] = 10_000
    """Steps that a method which samples takes for each of its estimates, in episodes of 100."""
    num_steps: Count = 200
    """Outer steps; published: 2,000."""
    learning_rate: Positive = 0.3
    """Step size on x, the logits of insulation and coupling."""
    tolerance: Positive = 0.1
    """`converged` means that the hyper-gradient's norm fell below this."""
    walkers: Count = 10_000
    """Buildings that are simulated, with the clipping, to check the end."""

    def instance(self) -> "tuple[BilevelProblem, Any]":
        """Insulation and coupling of 1/2."""
        return self.design.problem(), self.design.x0()

    def made(self, problem: "BilevelProblem") -> "tuple[Method, BilevelProblem]":
        """The method, and the problem."""
        from sobirl.hypergrad import Exact
        from sobirl.problems.building_sampled import SampledDesigner
        from sobirl.problems.building_thermal import HORIZON

        if self.method == "exact":
            return Exact(), problem
        return SampledDesigner(
            walkers=2 * (self.environment_steps // (2 * HORIZON)),
            implicit=self.method != "naive",
            scores=self.method == "scores",
        ), problem

    def outcome(self, result: "Result") -> "Outcome":
        """Judge the last building, by moments and in the simulator."""
        from sobirl.experiments.building_thermal.run import outcome

        return outcome(self, super().outcome(result), result)

    @functools.cached_property
    def design(self) -> "BuildingThermal":
        """The instance."""
        from sobirl.problems.building_thermal import BuildingThermal

        return BuildingThermal(self.temperature)
