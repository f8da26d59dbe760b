"""`sobirl run tax-design`: options; what needs JAX is loaded late."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Le

from sobirl.experiments.descent import DescentOptions
from sobirl.hypergrad.methods import methods_for
from sobirl.runs.benchmark import Benchmark
from sobirl.runs.options import Choices, Count, Positive

if TYPE_CHECKING:
    from sobirl.bilevel import BilevelProblem, Result
    from sobirl.problems.tax_design import TaxDesign
    from sobirl.runs.outcome import Outcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaxDesignRun(DescentOptions):
    """Tax design (Thoma et al. 2024): taxes for households that work, save and consume.

    Exact by default; --temperature 0.2 and 0.3 are the other published ones.
    """

    problem = "tax-design"
    objective_label = "minus the social welfare"
    values = ("welfare", "welfare_at_first", "welfare_simulated", "seconds_a_step")
    benchmarks = (
        Benchmark(
            measure="welfare",
            first="welfare_at_first",
            label="the social welfare",
            options={"points": 41, "walkers": 100, "num_steps": 40},
            full={"points": 161, "num_steps": 400},
            quick=False,
        ),
    )

    temperature: Positive = 0.1
    """The households' entropy weight; published: 0.1, 0.2, 0.3."""
    points: Annotated[int, Ge(3), Le(2001)] = 161
    """Points of the grid of assets, from -100 to 100."""
    walkers: Count = 4000
    """Households of each type that are simulated in continuous assets, to check the end."""
    method: Annotated[
        str, Choices(lambda: methods_for("return", x_enters=("reward", "transition")))
    ] = "exact"
    """How to get the hyper-gradient."""
    num_steps: Count = 60
    """Outer steps."""
    learning_rate: Positive = 0.1
    """Step size on x, the taxes' logits."""

    def instance(self) -> "tuple[BilevelProblem, Any]":
        """Taxes of 0.3."""
        return self.design.problem(), self.design.x0()

    def outcome(self, result: "Result") -> "Outcome":
        """Judge the last taxes, on grids and in the simulator."""
        from sobirl.experiments.tax_design.run import outcome

        return outcome(self, super().outcome(result), result)

    @functools.cached_property
    def design(self) -> "TaxDesign":
        """The instance."""
        from sobirl.problems.tax_design import TaxDesign

        return TaxDesign(self.temperature, self.points)
