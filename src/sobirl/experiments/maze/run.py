"""`sobirl run maze`: tolls within a budget, beside none and even ones."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from rich.table import Table

from sobirl.bilevel import BilevelProblem, Recorder, Result, budget, minimize, scalar_adam
from sobirl.core.status import Status
from sobirl.experiments.maze import figures
from sobirl.experiments.maze.options import MazeRun
from sobirl.hypergrad.budget import with_budget
from sobirl.runs.curves import draw_history
from sobirl.runs.files import csv_text
from sobirl.runs.outcome import Outcome, best_history, summarize_result, warnings
from sobirl.solvers import Stats, occupancy, solve

# Adam's memory of squared gradients: those of the first steps would shorten all later ones.
_SQUARES_DECAY = 0.9


class Walkers(NamedTuple):
    """What walkers do under some tolls.

    Attributes:
        value: V (S,), from which another solve may start.
        share: of those who come into the quiet quarter.
        visits: of every cell, in the mean over walkers (S,).
        status_code: how the solve ended.
        stats: what it cost.
    """

    value: Float[Array, "S"]
    share: Float[Array, ""]
    visits: Float[Array, "S"]
    status_code: Int[Array, ""]
    stats: Stats

    @property
    def steps(self) -> float:
        """From the entrance to the goal, in the mean."""
        return float(self.visits.sum()) - 1


def run(options: MazeRun, recorder: Recorder | None = None) -> Outcome:
    """Place the tolls, and compare them with none and with even ones."""
    maze = options.maze
    result = _minimize(options, recorder)
    # Samples are too rough to tell which step was best.
    tolls = np.asarray(result.x if options.method == "exact" else result.final_x)
    walk, problem = maze.walk, maze.problem()
    nothing = jnp.zeros(maze.free.sum())
    before = _respond(problem, walk.until_goal, maze.x0(), nothing)
    evenly = maze.even(options.budget, maze.is_quiet)
    even = _respond(problem, walk.until_goal, jnp.asarray(evenly), before.value)
    after = _respond(problem, walk.until_goal, jnp.asarray(tolls), before.value)
    status = max(result.status, *(Status(int(w.status_code)) for w in (before, even, after)))
    metrics = {
        "share_without_tolls": float(before.share),
        "share_with_even_tolls": float(even.share),
        "share": float(after.share),
        "steps_without_tolls": before.steps,
        "steps_with_even_tolls": even.steps,
        "steps": after.steps,
        "budget_used": float(tolls.sum()),
        "states": int(maze.free.sum()),
        "first_solve": {
            "solver": before.stats.solver,
            "sweeps": int(before.stats.sweeps),
            "factorizations": int(before.stats.factorizations),
        },
    }
    history = best_history(result)
    return Outcome(
        summary=summarize_result(
            result,
            status,
            objective=float(after.share),
            problem=options.problem,
            method=options.method,
            metrics=metrics,
        ),
        history=history,
        report=[
            _table(options, {"no": before, "even": even, "placed": after}),
            *warnings(result, status),
        ],
        figures={
            "maze": lambda: figures.tolls_and_flow(maze, tolls, before, after),
            "convergence": lambda: draw_history(options.curves, options.method, history),
        },
        files={"tolls.csv": _tolls_csv(tolls)},
        x=tolls,
        result=result,
    )


@eqx.filter_jit
def _respond(
    problem: BilevelProblem,
    until_goal: Float[Array, "S"],
    x: Float[Array, "n n"],
    value: Float[Array, "S"],
) -> Walkers:
    mdp = problem.lower(x)
    solution = solve(mdp, initial_value=value, throw=False)
    visits = jnp.sum(occupancy(mdp, solution.policy, until_goal), axis=-1)
    share = problem.upper(x, solution)
    return Walkers(solution.value, share, visits, solution.status_code, solution.stats)


def _minimize(options: MazeRun, recorder: Recorder | None) -> Result:
    problem = options.maze.problem()
    method, problem = with_budget(options.method, problem, options.environment_steps)
    first = options.learning_rate or options.budget / 10
    schedule = optax.cosine_decay_schedule(first, options.steps)
    return minimize(
        problem,
        options.maze.even(options.budget, options.maze.is_quiet),
        method=method,
        optimizer=scalar_adam(schedule, b2=_SQUARES_DECAY),
        num_steps=options.steps,
        key=options.seed,
        projection=budget(options.budget, lower=0),
        tolerance=options.tolerance,
        progress=options.progress,
        recorder=recorder,
    )


def _table(options: MazeRun, answers: dict[str, Walkers]) -> Table:
    table = Table(
        title=f"{options.maze.free.sum():,} states, tolls of {options.budget:g} in all",
        caption="even: the same in every block of the quiet quarter",
    )
    for column in ("tolls", "walkers through the quiet quarter", "mean steps to the goal"):
        table.add_column(column, justify="left" if column == "tolls" else "right")
    for name, walkers in answers.items():
        table.add_row(name, f"{float(walkers.share):.1%}", f"{walkers.steps:.1f}")
    return table


def _tolls_csv(tolls: np.ndarray) -> str:
    rows = ((*block, toll) for block, toll in np.ndenumerate(tolls))
    return csv_text(("row", "column", "toll"), rows)
