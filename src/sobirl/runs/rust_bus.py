"""`sobirl run rust-bus`: maximum likelihood on Rust's data, yours, or a simulated panel."""

import dataclasses
import functools
from pathlib import Path
from typing import Literal

import numpy as np
from rich.table import Table

from sobirl.bilevel.recorder import Recorder
from sobirl.core.errors import InvalidInputError
from sobirl.problems import rust_bus
from sobirl.problems.rust_bus import COSTS, GROUP4_ESTIMATES, GROUP4_PROBABILITIES, Panel
from sobirl.problems.rust_estimation import Estimate, estimate
from sobirl.runs.figures import rust_bus as figures
from sobirl.runs.options import RunOptions, require, require_positive
from sobirl.runs.outcome import Outcome, summarize

# Rust (1987), table IX, group 4, β = 0.9999; -log L of the decisions alone.
PUBLISHED = {"replacement_cost": 10.0750, "theta": (2.2930,), "neg_log_likelihood": 163.584}

_SUBSCRIPTS = "₀₁₂₃"
_NORMAL_95 = 1.959964


@dataclasses.dataclass(frozen=True, kw_only=True)
class RustBusRun(RunOptions):
    """Replacement of bus engines (Rust 1987): costs estimated from decisions, by Newton's method.

    On data: sobirl run rust-bus --data FILE.csv. On a simulated panel: sobirl run rust-bus
    --simulate --buses 500 --seed 0.
    """

    problem = "rust-bus"

    data: Path | None = None
    """CSV file with the columns Bus_ID, period, state, usage, decision; by default the data of
    Rust's bus group 4, which comes with sobirl."""
    simulate: bool = False
    """Simulate a panel and compare its estimates with the true parameters."""
    cost: Literal["linear", "sqrt", "quadratic", "cubic", "hyperbolic"] = "linear"
    """Operating cost as a function of mileage."""
    discount: float = rust_bus.DISCOUNT
    """Discount factor a period, in [0, 1)."""
    tolerance: float = 1e-6
    """`converged` means that the norm of the gradient of -log L fell below this."""
    buses: int = 500
    """Number of buses of a simulated panel."""
    periods: int = 120
    """Months a simulated bus; the first (period 0) is not part of the likelihood."""
    replacement_cost: float | None = None
    """True RC of a simulated panel; by default the estimate on Rust's group 4."""
    theta: tuple[float, ...] | None = None
    """True θ of a simulated panel, one number a cost parameter; by default likewise."""

    def validate(self) -> None:
        """Check the options, and every row of the data file if there is one."""
        super().validate()
        require_positive("--tolerance", self.tolerance)
        require("--discount", self.discount, 0 <= self.discount < 1, "must lie in [0, 1)")
        if not self.simulate:
            self._refuse_simulation_options()
            _ = self._panel
            return
        require("--data", self.data, self.data is None, "does not go with --simulate")
        require("--buses", self.buses, self.buses >= 1, "must be at least 1")
        require("--periods", self.periods, self.periods >= 2, "must be at least 2")
        replacement_cost, theta = self._truth
        count = COSTS[self.cost].num_parameters
        plural = "s" if count > 1 else ""
        right = f"needs {count} number{plural} for the {self.cost} cost"
        require("--theta", " ".join(map(str, theta)), len(theta) == count, right)
        for name, value in (("--replacement-cost", replacement_cost), ("--theta", theta)):
            require(name, value, bool(np.all(np.isfinite(value))), "must be finite")

    def run(self, recorder: Recorder | None = None) -> Outcome:
        """Estimate the costs, and set them beside what is known about them.

        It takes milliseconds, so that there is nothing to record.
        """
        panel = self._panel
        found = estimate(
            panel, self.cost, discount=self.discount, tolerance=self.tolerance, seed=self.seed
        )
        result = found.result
        truth = np.array([self._truth[0], *self._truth[1]]) if self.simulate else None
        metrics = {
            "neg_log_likelihood": result.objective,
            "replacement_cost": float(found.values[0]),
            "theta": found.values[1:].tolist(),
            "standard_errors": found.standard_errors.tolist(),
            "cost_coefficients": (found.values[1:] * COSTS[self.cost].scales).tolist(),
        }
        if self.simulate:
            metrics |= {
                "true_replacement_cost": float(truth[0]),
                "true_theta": truth[1:].tolist(),
                "z_scores": ((found.values - truth) / found.standard_errors).tolist(),
            }
        return Outcome(
            summary=summarize(
                problem=self.problem,
                method="newton",
                objective=result.objective,
                metrics=metrics,
                hypergradient_norm=result.hypergradient_norm,
                steps=result.steps,
                starts=len(found.start_objectives),
                compile_seconds=found.compile_seconds,
                run_seconds=found.run_seconds,
                converged=result.converged,
                message=result.message,
                start_objectives=found.start_objectives.tolist(),
                observations=int(panel.decision_counts.sum()),
                transition_probabilities=panel.transition_probabilities.tolist(),
            ),
            history=result.history,
            report=[self._parameters(found, truth), self._facts(found), *_warnings(found)],
            figures={
                "likelihood": lambda: figures.likelihood(found, truth),
                "replacement": lambda: figures.replacement(found, truth),
            },
            files={"data.csv": rust_bus.to_csv(panel)} if self.simulate else {},
        )

    @functools.cached_property
    def _panel(self) -> Panel:
        if not self.simulate:
            return rust_bus.group4() if self.data is None else rust_bus.load_panel(self.data)
        panel = rust_bus.simulate(
            self.cost,
            *self._truth,
            buses=self.buses,
            periods=self.periods,
            discount=self.discount,
            seed=self.seed,
        )
        rust_bus.check_estimable(panel, "the simulated panel")
        return panel

    @property
    def _truth(self) -> tuple[float, tuple[float, ...]]:
        """RC and θ of a simulated panel."""
        replacement_cost, theta = GROUP4_ESTIMATES[self.cost]
        if self.replacement_cost is not None:
            replacement_cost = self.replacement_cost
        return replacement_cost, theta if self.theta is None else self.theta

    def _refuse_simulation_options(self) -> None:
        """Options that only a simulation has must not be given in vain."""
        for field in dataclasses.fields(self):
            if field.name not in ("buses", "periods", "replacement_cost", "theta"):
                continue
            if getattr(self, field.name) != field.default:
                option = f"--{field.name.replace('_', '-')}"
                raise InvalidInputError(f"{option} goes with --simulate; with --data leave it out")

    def _is_published(self, found: Estimate) -> bool:
        """Whether Rust's own estimate is for this panel, cost and discount."""
        own = rust_bus.group4()
        return (
            self.cost == "linear"
            and self.discount == rust_bus.DISCOUNT
            and np.array_equal(found.panel.decision_counts, own.decision_counts)
            and np.array_equal(found.panel.usage_counts, own.usage_counts)
        )

    def _parameters(self, found: Estimate, truth: np.ndarray | None) -> Table:
        table = Table(title=f"Bus engines, {self.cost} cost\nc(s) = {COSTS[self.cost].formula}")
        table.add_column("parameter")
        for column in ("estimate", "std error", "95 % interval"):
            table.add_column(column, justify="right")
        published = not self.simulate and self._is_published(found)
        for column in ("true value", "z-score") if self.simulate else ("published",) * published:
            table.add_column(column, justify="right")

        known = np.array([PUBLISHED["replacement_cost"], *PUBLISHED["theta"]])
        for i, (value, error) in enumerate(zip(found.values, found.standard_errors, strict=True)):
            margin = _NORMAL_95 * error
            row = ["RC" if i == 0 else f"θ{_SUBSCRIPTS[i]}", f"{value:.5f}"]
            if np.isfinite(error):
                row += [f"{error:.5f}", f"{value - margin:.4g} to {value + margin:.4g}"]
            else:
                row += ["none", "none"]
            if self.simulate:
                row += [f"{truth[i]:.7g}", f"{(value - truth[i]) / error:+.2f}"]
            elif published:
                row += [f"{known[i]:.4f}"]
            table.add_row(*row)
        row = ["−log L", f"{found.result.objective:.5f}", "", ""]
        row += ["", ""] if self.simulate else [f"{PUBLISHED['neg_log_likelihood']:.3f}"] * published
        table.add_section()
        table.add_row(*row)
        return table

    def _facts(self, found: Estimate) -> str:
        """What the estimate rests on, in three lines."""
        panel, result = found.panel, found.result
        keeps, replacements = panel.decision_counts.sum(axis=0)
        used = ", ".join(f"{p:.4f}" for p in panel.transition_probabilities)
        text = (
            f"{keeps + replacements:.0f} observations, {replacements:.0f} of them replacements\n"
            f"transition probabilities {used}"
        )
        if self.simulate:
            text += f" (true: {', '.join(f'{p:.4f}' for p in GROUP4_PROBABILITIES)})"
        agree = np.sum(np.abs(found.start_objectives - result.objective) < 1e-6)
        return (
            f"{text}\n{agree} of {len(found.start_objectives)} starts ended at this optimum; "
            f"gradient norm {result.hypergradient_norm:.1e} after {result.steps} steps"
        )


def _warnings(found: Estimate) -> list[str]:
    result = found.result
    warnings = []
    if not (result.converged and result.positive_definite):
        warnings.append(f"warning: {result.message}")
    if result.objective < 1e-3:
        warnings.append(
            "warning: the costs predict every decision for certain; the likelihood has no "
            "maximum then, and rises on as RC and θ grow"
        )
    return warnings
