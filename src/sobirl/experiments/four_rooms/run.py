"""`sobirl run four-rooms`: incentive design from a portfolio of starts, beside the literature."""

import jax.numpy as jnp
import numpy as np
import optax
from rich.table import Table

from sobirl.bilevel import (
    BilevelProblem,
    GeometricContinuation,
    Recorder,
    Result,
    SuccessiveHalving,
    minimize,
)
from sobirl.core.protocols import Method
from sobirl.experiments.evaluation import evaluate
from sobirl.experiments.four_rooms import figures
from sobirl.experiments.four_rooms.options import FourRoomsRun
from sobirl.hypergrad.budget import with_budget
from sobirl.problems.four_rooms import GOALS, SOURCE, FourRooms, cells, incentive, random_start
from sobirl.runs.outcome import Outcome, best_history, summarize_result, warnings
from sobirl.solvers import PolicyIteration

# A portfolio, because the leader's value has many local optima, and which recipe finds the best
# depends on the cell of the table: the walker's first temperature, from which it cools to the
# problem's own over the first half of the first round. One below the own temperature cools nothing.
FIRST_TEMPERATURES = (0.0, 0.003, 0.005, 0.0075)
# Adam's memory of squared gradients, in place of 0.999: that of a walker's first, large reactions
# would outlive the run and keep whole regions of the floor from ever being penalized.
SQUARES_DECAY = 0.9
# What suits this problem, where it is not a method's default.
SETTINGS = {
    # Six digits of the follower's policy are plenty for a step of the leader.
    "exact": {"solver": PolicyIteration(rtol=1e-8, policy_tolerance=1e-6), "rtol": 1e-8},
    "pbrl": {"penalty": 100.0, "policy_steps": 2},
    "zero-order": {"scale": 0.5},
}


def run(options: FourRoomsRun, recorder: Recorder | None = None) -> Outcome:
    """Optimize the portfolio and compare the best start with the published values."""
    design = FourRooms(options.temperature, options.cost_weight, GOALS[: options.goals])
    result = _minimize(options, design, recorder)
    nothing = np.full_like(result.x, -40.0)
    nothing[-1] = 40.0  # all of the budget unused
    # The steps solve the walker to six digits; what is reported is solved to round-off.
    points = np.stack([*result.start_x, nothing])
    found = evaluate(design.problem(), points, needed=(result.best_start, -1))
    *leader_values, unpaid = (-found.objective).tolist()
    # Samples are too rough to tell which start is best.
    exact = options.method == "exact"
    best_start = result.best_start if exact else int(np.nanargmax(leader_values))
    leader_value = leader_values[best_start]
    before, after = found.visits[-1], found.visits[best_start]
    penalty = -np.asarray(incentive(jnp.asarray(result.start_x[best_start])))
    metrics = {
        "leader_value": leader_value,
        "leader_value_mean": float(np.nanmean(leader_values)),
        "leader_value_worst": float(np.nanmin(leader_values)),
        "leader_value_without_incentives": unpaid,
        "published": design.published(options.environment_steps),
    }
    status = max(result.status, found.status)
    return Outcome(
        summary=summarize_result(
            result,
            status,
            objective=-leader_value,
            problem=options.problem,
            method=options.method,
            metrics=metrics,
        ),
        history=best_history(result),
        report=[_table(options, metrics), *warnings(result, status)],
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
        x=result.start_x[best_start],
        result=result,
    )


def method_for(name: str, problem: BilevelProblem, steps: int) -> tuple[Method, BilevelProblem]:
    """A method within a budget of steps a goal, with what suits this problem; see `with_budget`."""
    return with_budget(name, problem, steps, **SETTINGS.get(name, {}))


def _minimize(options: FourRoomsRun, design: FourRooms, recorder: Recorder | None) -> Result:
    turns = jnp.arange(options.starts) % len(FIRST_TEMPERATURES)
    first_temperature = jnp.array(FIRST_TEMPERATURES)[turns]
    steps = options.environment_steps // options.goals
    method, problem = method_for(options.method, design.problem(), steps)
    rounds = SuccessiveHalving(options.rounds)
    every_start = rounds.schedule(options.starts, options.num_steps)[0][0]
    schedule = optax.cosine_decay_schedule(options.learning_rate, options.num_steps)
    return minimize(
        problem,
        random_start,
        method=method,
        optimizer=optax.adam(schedule, b2=SQUARES_DECAY),
        num_steps=options.num_steps,
        key=options.seed,
        starts=options.starts,
        rounds=rounds,
        continuation=GeometricContinuation(
            factor=jnp.maximum(first_temperature / options.temperature, 1.0),
            cooling_steps=every_start // 2,
        ),
        tolerance=options.tolerance,
        progress=options.progress,
        recorder=recorder,
    )


def _source(options: FourRoomsRun) -> str:
    return SOURCE if options.goals == 2 else "Kudo et al. (2026), read off figures"


def _table(options: FourRoomsRun, metrics: dict) -> Table:
    title = (
        f"Four Rooms, temperature {options.temperature:g}, cost weight {options.cost_weight:g}, "
        f"{options.goals} goal{'s' * (options.goals - 1)}, {options.method}"
    )
    caption = f"Published: {_source(options)}, mean of 10 seeds." if metrics["published"] else None
    table = Table(title=title, caption=caption)
    table.add_column("method")
    table.add_column("leader value", justify="right")
    best, mean, worst = (metrics[f"leader_value{end}"] for end in ("", "_mean", "_worst"))
    table.add_row(f"sobirl, best of {options.starts} starts", f"[bold]{best:.3f}[/bold]")
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
