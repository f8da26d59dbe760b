"""`sobirl run four-rooms`: incentive design from a portfolio of starts, beside the literature."""

import dataclasses
import math
from typing import Literal

import jax.numpy as jnp
import numpy as np
import optax
from rich.table import Table

from sobirl.bilevel import GeometricContinuation, Recorder, Result, minimize
from sobirl.problems.four_rooms import GOALS, FourRooms, cells, incentive, random_start
from sobirl.runs.evaluation import evaluate
from sobirl.runs.figures import four_rooms as figures
from sobirl.runs.methods import make_method, problem_for
from sobirl.runs.options import StepwiseOptions, require, require_count, require_positive
from sobirl.runs.outcome import Outcome, best_history, summarize_result, warnings

# A portfolio, because the leader's value has many local optima, and which recipe finds the best
# depends on the cell of the table: the walker's first temperature, from which it cools to the
# problem's own over the first half of the steps. A recipe below the own temperature cools nothing.
FIRST_TEMPERATURES = (0.0, 0.005, 0.0, 0.01)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FourRoomsRun(StepwiseOptions):
    """Four Rooms incentive design (Thoma et al. 2024): any method, many starts.

    The default is the first cell of the published table with exact hyper-gradients; try
    --temperature 0.003 --cost-weight 3, or --method plug-in, which sees trajectories only.
    """

    problem = "four-rooms"

    temperature: float = 0.001
    """The walker's entropy weight; published: 0.001, 0.003, 0.005."""
    cost_weight: float = 1.0
    """The designer's price of penalty budget; published: 1 to 5."""
    goals: Literal[1, 2] = 2
    """Both goals (Thoma et al. 2024), or the first alone (Kudo et al. 2026, with cost weight 5)."""
    method: Literal[
        "exact",
        "plug-in",
        "advantage-trace",
        "sobirl",
        "hpgd",
        "bc-hg",
        "naive",
        "zero-order",
        "amd",
        "pbrl",
    ] = "exact"
    """How to get the hyper-gradient; exact, amd and pbrl use the model, the others sample."""
    environment_steps: int = 10_000
    """Steps that a method which samples takes for each of its estimates, all goals together."""
    starts: int = 24
    """Starts that run side by side; they take turns in a portfolio of recipes."""
    num_steps: int = 300
    """Adam steps of every start."""
    step_size: float = 0.5
    """First step size of Adam; it decays to 0 along a cosine."""
    tolerance: float = 1e-6
    """`converged` means that the hyper-gradient's norm fell below this."""

    def validate(self) -> None:
        """Check the options."""
        super().validate()
        for name in ("temperature", "step_size", "tolerance"):
            require_positive(f"--{name.replace('_', '-')}", getattr(self, name))
        valid = 0 <= self.cost_weight < math.inf
        require("--cost-weight", self.cost_weight, valid, "must not be negative")
        require_count("--starts", self.starts)
        require_count("--environment-steps", self.environment_steps)
        enough = self.environment_steps >= 2 * self.goals
        require("--environment-steps", self.environment_steps, enough, "must be 2 a goal or more")
        require_count("--num-steps", self.num_steps)

    def run(self, recorder: Recorder | None = None) -> Outcome:
        """Optimize the portfolio and compare the best start with the published values."""
        design = FourRooms(self.temperature, self.cost_weight, GOALS[: self.goals])
        result = self._minimize(design, recorder)
        nothing = np.full_like(result.x, -40.0)
        nothing[-1] = 40.0  # all of the budget unused
        # The steps solve the walker to six digits; what is reported is solved to round-off.
        points = np.stack([*result.start_x, nothing])
        found = evaluate(design.problem(), points, needed=(result.best_start, -1))
        *leader_values, unpaid = (-found.objective).tolist()
        # Samples are too rough to tell which start is best.
        exact = self.method == "exact"
        best_start = result.best_start if exact else int(np.nanargmax(leader_values))
        leader_value = leader_values[best_start]
        before, after = found.visits[-1], found.visits[best_start]
        penalty = -np.asarray(incentive(jnp.asarray(result.start_x[best_start])))
        metrics = {
            "leader_value": leader_value,
            "leader_value_mean": float(np.nanmean(leader_values)),
            "leader_value_worst": float(np.nanmin(leader_values)),
            "leader_value_without_incentives": unpaid,
            "published": design.published(self.environment_steps),
        }
        status = max(result.status, found.status)
        return Outcome(
            summary=summarize_result(
                result,
                status,
                objective=-leader_value,
                problem=self.problem,
                method=self.method,
                metrics=metrics,
            ),
            history=best_history(result),
            report=[self._table(metrics), *warnings(status)],
            figures={
                "map": lambda: figures.incentives_and_flow(
                    penalty,
                    {"before": before, "after": after},
                    {"before": unpaid, "after": leader_value},
                ),
                "starts": lambda: figures.starts(
                    _own_leader_values(result), best_start, metrics["published"]
                ),
            },
            files={"incentives.csv": _incentive_table(penalty)},
        )

    def _minimize(self, design: FourRooms, recorder: Recorder | None) -> Result:
        turns = jnp.arange(self.starts) % len(FIRST_TEMPERATURES)
        first_temperature = jnp.array(FIRST_TEMPERATURES)[turns]
        steps = self.environment_steps // self.goals
        return minimize(
            problem_for(self.method, design.problem(), steps),
            random_start,
            method=make_method(self.method, steps),
            optimizer=optax.adam(optax.cosine_decay_schedule(self.step_size, self.num_steps)),
            num_steps=self.num_steps,
            key=self.seed,
            starts=self.starts,
            continuation=GeometricContinuation(
                factor=jnp.maximum(first_temperature / self.temperature, 1.0),
                num_steps=self.num_steps // 2,
            ),
            tolerance=self.tolerance,
            progress=self.progress,
            recorder=recorder,
        )

    def _source(self) -> str:
        return "Thoma et al. (2024)" if self.goals == 2 else "Kudo et al. (2026), read off figures"

    def _table(self, metrics: dict) -> Table:
        title = (
            f"Four Rooms, temperature {self.temperature:g}, cost weight {self.cost_weight:g}, "
            f"{self.goals} goal{'s' * (self.goals - 1)}, {self.method}"
        )
        caption = (
            f"Published: {self._source()}, mean of 10 seeds." if metrics["published"] else None
        )
        table = Table(title=title, caption=caption)
        table.add_column("method")
        table.add_column("leader value", justify="right")
        best, mean, worst = (metrics[f"leader_value{end}"] for end in ("", "_mean", "_worst"))
        table.add_row(f"sobirl, best of {self.starts} starts", f"[bold]{best:.3f}[/bold]")
        table.add_row("sobirl, mean over starts", f"{mean:.3f}")
        table.add_row("sobirl, worst start", f"{worst:.3f}", end_section=True)
        for method, value in (metrics["published"] or {}).items():
            table.add_row(f"{method} (published)", f"{value:.2f}")
        table.add_row("no incentives", f"{metrics['leader_value_without_incentives']:.3f}")
        return table


def _own_leader_values(result: Result) -> np.ndarray:
    """Leader values (steps, starts) at the problem's own temperature, NaN during continuations."""
    values, factors = -result.history["objective"], result.history["temperature_factor"]
    values[:-1] = np.where(factors[1:] > 1, np.nan, values[:-1])
    return values.reshape(len(values), -1)


def _incentive_table(penalty: np.ndarray) -> str:
    """The answer as a CSV: row, column and penalty of every cell."""
    rows = [
        f"{row},{column},{amount!r}"
        for (row, column), amount in zip(cells(), penalty.tolist(), strict=True)
    ]
    return "\n".join(["row,column,penalty", *rows]) + "\n"
