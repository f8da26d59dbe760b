"""Options of `sobirl run fleet`."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from sobirl.hypergrad.methods import methods_for
from sobirl.runs.options import (
    Choices,
    Count,
    Discount,
    NotNegative,
    Positive,
    StepwiseOptions,
    require,
)

if TYPE_CHECKING:
    from sobirl.bilevel import Recorder
    from sobirl.problems.fleet import Fleet
    from sobirl.runs.outcome import Outcome
    from sobirl.runs.saved import SavedRun

_MOST_STATES = 10**7


@dataclasses.dataclass(frozen=True, kw_only=True)
class FleetRun(StepwiseOptions):
    """A fleet of machines with one service bay: what should a service cost, by wear?

    One price for all: sobirl run fleet --bands 1

    A million states: sobirl run fleet --large
    """

    problem = "fleet"
    values = ("income", "income_at_first", "services", "services_at_first", "best_single_price")

    large: bool = False
    """10^6 states: 3 machines of 100 wear states. Begins at the prices that are best for a single
    one of them, which are found first."""
    machines: Count | None = None
    """Machines K; 2 by default, 3 with --large."""
    wear_states: Annotated[int, Ge(3)] | None = None
    """Wear states M of a machine; 15 by default, 100 with --large."""
    bands: Count = 5
    """Wear bands with a price of their own."""
    service_cost: NotNegative = 5.0
    """What a service costs the workshop; Rust's company paid 10.07 for one."""
    max_price: Positive = 20.0
    """The most that a service may be sold for."""
    discount: Discount = 0.9999
    """Discount factor a month, of both."""
    method: Annotated[str, Choices(lambda: methods_for("return"))] = "exact"
    """How to get the hyper-gradient."""
    environment_steps: Count = 2000
    """Steps that a method which samples takes for each of its estimates."""
    num_steps: Count | None = None
    """Outer steps of Adam; 100 by default, 1 with --large."""
    learning_rate: Positive | None = None
    """First step size of Adam on the prices, which decays to 0 along a cosine; 0.5 by default,
    0.01 with --large."""
    tolerance: Positive = 5e-4
    """`converged` means that the projected gradient's norm fell below this."""

    def validate(self) -> None:
        """Check the options."""
        super().validate()
        if self.large:
            for name in ("machines", "wear_states"):
                value = getattr(self, name)
                require(self.called(name), value, value is None, "does not go with --large")
        machines, wear_states = self.size
        fits = wear_states**machines <= _MOST_STATES
        require(self.called("machines"), machines, fits, "should leave M^K states below 10 million")
        enough = self.bands <= wear_states
        require(
            self.called("bands"), self.bands, enough, f"should be at most {wear_states} wear states"
        )

    @property
    def size(self) -> tuple[int, int]:
        """K and M."""
        return (3, 100) if self.large else (self.machines or 2, self.wear_states or 15)

    @property
    def fleet(self) -> "Fleet":
        """The instance."""
        from sobirl.problems.fleet import Fleet

        return Fleet(*self.size, self.bands, self.service_cost, self.discount)

    def learned(self, saved: "SavedRun") -> dict[str, Any]:
        """The bilevel problem."""
        return {"problem": self.fleet.problem()}

    def run(self, recorder: "Recorder | None" = None) -> "Outcome":
        """Set the prices, and compare with what Rust's company paid."""
        from sobirl.experiments.fleet.run import run

        return run(self, recorder)
