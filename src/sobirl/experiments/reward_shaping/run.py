"""`sobirl run reward-shaping`: the walker without hints, with them, and with the leader's eyes."""

import jax.numpy as jnp
import numpy as np
import optax
from rich.table import Table

from sobirl.bilevel import Recorder, Result, box, minimize
from sobirl.experiments.evaluation import evaluate
from sobirl.experiments.reward_shaping import RewardShapingRun, figures
from sobirl.hypergrad.budget import with_budget
from sobirl.problems.four_rooms import cells
from sobirl.problems.reward_shaping import LEADER_DISCOUNT, RewardShaping
from sobirl.runs.curves import draw_history
from sobirl.runs.files import csv_text
from sobirl.runs.outcome import Outcome, best_history, summarize_result, warnings

# A temperature so low that a walker of the leader's discount does what is best for the leader. At
# the walker's own it would rather stroll for ever than end the episode.
_DECIDED = 1e-4


def run(options: RewardShapingRun, recorder: Recorder | None = None) -> Outcome:
    """Learn the hints, and compare the walker with and without them."""
    shaping = options.shaping
    result = _minimize(options, recorder)
    # Samples are too rough to tell which step was best.
    hints = jnp.asarray(result.x if options.method == "exact" else result.final_x)
    found = evaluate(shaping.problem(), jnp.stack([shaping.x0(), hints]))
    before, after = (-found.objective).tolist()
    patient = RewardShaping("free", LEADER_DISCOUNT, _DECIDED)
    best = -float(patient.problem().value(patient.x0()))
    status = max(result.status, found.status)
    history = best_history(result)
    metrics = {
        "leader_return_without_hints": before,
        "leader_return": after,
        "best_leader_return": best,
        "largest_hint": float(jnp.abs(hints).max()),
    }
    return Outcome(
        summary=summarize_result(
            result,
            status,
            objective=-after,
            problem=options.problem,
            method=options.method,
            metrics=metrics,
        ),
        history=history,
        report=[_table(options, before, after, best), *warnings(result, status)],
        figures={
            "paths": lambda: figures.paths(
                np.asarray(hints), found.visits, (before, after), options.form
            ),
            "convergence": lambda: draw_history(options.curves, options.method, history),
        },
        files={"hints.csv": _hints_csv(hints)},
        x=hints,
        result=result,
    )


def _minimize(options: RewardShapingRun, recorder: Recorder | None) -> Result:
    problem = options.shaping.problem()
    method, problem = with_budget(options.method, problem, options.environment_steps)
    return minimize(
        problem,
        options.shaping.x0(),
        method=method,
        optimizer=optax.adam(options.learning_rate),
        num_steps=options.num_steps,
        key=options.seed,
        projection=box(-options.bound, options.bound),
        tolerance=options.tolerance,
        progress=options.progress,
        recorder=recorder,
    )


def _table(options: RewardShapingRun, before: float, after: float, best: float) -> Table:
    table = Table(
        title=f"Walker of discount {options.discount:g}, hints: {options.form}",
        caption=f"leader's discount {LEADER_DISCOUNT:g}",
    )
    table.add_column("walker")
    table.add_column("leader's return", justify="right")
    table.add_row("without hints", f"{before:.4f}")
    table.add_row(f"hints after {options.num_steps} steps", f"[bold]{after:.4f}[/bold]")
    table.add_row("best possible", f"{best:.4f}")
    return table


def _hints_csv(hints) -> str:
    rows = ((*cell, hint) for cell, hint in zip(cells(), hints.tolist(), strict=True))
    return csv_text(("row", "column", "hint"), rows)
