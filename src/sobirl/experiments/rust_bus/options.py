"""Options of `sobirl run rust-bus`."""

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from sobirl.core.errors import InvalidInputError
from sobirl.problems.rust_costs import COSTS, DISCOUNT, GROUP4_ESTIMATES
from sobirl.runs.curves import Curve
from sobirl.runs.decoding import typed
from sobirl.runs.options import Choices, Count, Discount, Finite, Positive, RunOptions, require

if TYPE_CHECKING:
    from sobirl.bilevel import Recorder
    from sobirl.problems.rust_bus import Panel
    from sobirl.runs.outcome import Outcome
    from sobirl.runs.saved import SavedRun

_OF_SIMULATIONS = ("buses", "periods", "replacement_cost", "theta")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RustBusRun(RunOptions):
    """Replacement of bus engines (Rust 1987): costs estimated from decisions, by Newton's method.

    On data: sobirl run rust-bus --data FILE.csv. On a simulated panel: sobirl run rust-bus
    --simulate --buses 500 --seed 0.
    """

    problem = "rust-bus"
    curves = (
        Curve("objective", label="-log L"),
        Curve("hypergradient_norm", label="norm of the gradient", log=True),
    )
    values = ("replacement_cost", "theta", "standard_errors", "neg_log_likelihood")

    data: Path | None = None
    """CSV file with the columns Bus_ID, period, state, usage, decision; by default the data of
    Rust's bus group 4, which comes with sobirl."""
    simulate: bool = False
    """Simulate a panel and compare its estimates with the true parameters."""
    cost: Annotated[str, Choices(lambda: list(COSTS))] = "linear"
    """Operating cost as a function of mileage."""
    discount: Discount = DISCOUNT
    """Discount factor a period, in [0, 1)."""
    tolerance: Positive = 1e-6
    """`converged` means that the norm of the gradient of -log L fell below this."""
    buses: Count = 500
    """Number of buses of a simulated panel."""
    periods: Annotated[int, Ge(2)] = 120
    """Months a simulated bus; the first (period 0) is not part of the likelihood."""
    replacement_cost: Finite | None = None
    """True RC of a simulated panel; by default the estimate on Rust's group 4."""
    theta: tuple[Finite, ...] | None = None
    """True θ of a simulated panel, one number a cost parameter; by default likewise."""

    def validate(self) -> None:
        """Check the options, and every row of the data file if there is one."""
        super().validate()
        if not self.simulate:
            self._refuse_simulation_options()
            _ = self.panel
            return
        require("--data", self.data, self.data is None, "does not go with --simulate")
        _, theta = self.truth
        count = COSTS[self.cost].num_parameters
        plural = "s" if count > 1 else ""
        right = f"needs {count} number{plural} for the {self.cost} cost"
        require("--theta", " ".join(map(str, theta)), len(theta) == count, right)

    def learned(self, saved: "SavedRun") -> dict[str, Any]:
        """The bilevel problem."""
        from sobirl.problems import rust_bus

        panel = self.panel
        counts, chances = panel.decision_counts, panel.transition_probabilities
        return {"problem": rust_bus.problem(self.cost, counts, chances, self.discount)}

    def run(self, recorder: "Recorder | None" = None) -> "Outcome":
        """Estimate the costs, and set them beside what is known about them.

        It takes milliseconds, so that there is nothing to record.
        """
        from sobirl.experiments.rust_bus.run import run

        return run(self)

    @functools.cached_property
    def panel(self) -> "Panel":
        """The data, read or simulated."""
        from sobirl.problems import rust_bus

        if not self.simulate:
            return rust_bus.group4() if self.data is None else rust_bus.load_panel(self.data)
        panel = rust_bus.simulate(
            self.cost,
            *self.truth,
            buses=self.buses,
            periods=self.periods,
            discount=self.discount,
            seed=self.seed,
        )
        rust_bus.check_estimable(panel, "the simulated panel")
        return panel

    @property
    def truth(self) -> tuple[float, tuple[float, ...]]:
        """RC and θ of a simulated panel."""
        replacement_cost, theta = GROUP4_ESTIMATES[self.cost]
        if self.replacement_cost is not None:
            replacement_cost = self.replacement_cost
        return replacement_cost, theta if self.theta is None else self.theta

    def _refuse_simulation_options(self) -> None:
        """Options that only a simulation has must not be given in vain."""
        for field in dataclasses.fields(self):
            if field.name in _OF_SIMULATIONS and getattr(self, field.name) != field.default:
                raise InvalidInputError(
                    f"{typed(field.name)} goes with --simulate; with --data leave it out"
                )
