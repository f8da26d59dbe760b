"""What experiments have in common whose follower's temperature is to vanish on the way."""

import dataclasses
from typing import TYPE_CHECKING, Any

from sobirl.runs.options import Count, Positive, StepwiseOptions, require

if TYPE_CHECKING:
    from sobirl.bilevel import BilevelProblem, Recorder, Result


@dataclasses.dataclass(frozen=True, kw_only=True)
class CoolingOptions(StepwiseOptions):
    """Options of a descent that begins with a softer follower.

    An experiment adds its instance and `method`.
    """

    method: str
    environment_steps: Count = 5000
    """Steps that a method which samples takes for each of its estimates."""
    temperature: Positive = 0.001
    """The follower's entropy weight at the end, by which everything is judged."""
    first_temperature: Positive = 0.1
    """That at the first step; from it the follower cools over three quarters of the steps. The same
    as --temperature for a follower that is as decided from the start."""
    num_steps: Count = 200
    """Outer steps."""
    learning_rate: Positive = 0.1
    """First step size of Adam; it decays to 0 along a cosine."""
    tolerance: Positive = 1e-4
    """`converged` means that the hyper-gradient's norm fell below this."""

    def validate(self) -> None:
        """Check the options."""
        super().validate()
        hotter = self.first_temperature >= self.temperature
        wanted = f"should not be below --temperature {self.temperature:g}"
        require("--first-temperature", self.first_temperature, hotter, wanted)

    def minimize(
        self,
        problem: "BilevelProblem",
        x0: Any,
        recorder: "Recorder | None" = None,
        projection: Any = None,
    ) -> "Result":
        """Descend from x0 while the follower cools."""
        import optax

        from sobirl.bilevel import GeometricContinuation, minimize
        from sobirl.hypergrad.budget import with_budget

        method, problem = with_budget(self.method, problem, self.environment_steps)
        factor, cooling = self.first_temperature / self.temperature, self.num_steps * 3 // 4
        cools = factor > 1 and cooling > 0
        return minimize(
            problem,
            x0,
            method=method,
            optimizer=optax.adam(optax.cosine_decay_schedule(self.learning_rate, self.num_steps)),
            num_steps=self.num_steps,
            key=self.seed,
            continuation=GeometricContinuation(factor, cooling) if cools else None,
            projection=projection,
            tolerance=self.tolerance,
            progress=self.progress,
            recorder=recorder,
        )
