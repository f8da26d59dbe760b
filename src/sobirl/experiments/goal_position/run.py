"""`sobirl run goal-position`: the goal that is found, in the landscape of all goals."""

import jax.numpy as jnp
import numpy as np
from rich.table import Table

from sobirl.bilevel import Recorder, box
from sobirl.experiments.evaluation import evaluate
from sobirl.experiments.goal_position import GoalPositionRun, figures
from sobirl.problems.goal_position import GoalPosition
from sobirl.runs.curves import draw_history
from sobirl.runs.outcome import Outcome, best_history, summarize_result, warnings

# Goals a cell and direction of which the landscape is made; multiples of a cell's half among them,
# where terraces end.
_FINE = 4


def run(options: GoalPositionRun, recorder: Recorder | None = None) -> Outcome:
    """Move the goal, and compare where it ends with all places where it could be."""
    instance = options.instance
    problem, x0 = instance.problem(), instance.x0()
    result = options.minimize(problem, x0, recorder, box(0, instance.size - 1))
    goal = jnp.asarray(result.x if options.method == "exact" else result.final_x)
    found = evaluate(problem, jnp.stack([x0, goal]))
    first, last = (-found.objective).tolist()
    values = landscape(instance)
    at, best = np.argmax(values), float(values.max())
    best_goal = _goals(instance)[at].tolist()
    status = max(result.status, found.status)
    history = best_history(result)
    metrics = {
        "leader_value": last,
        "leader_value_at_first": first,
        "best_leader_value": best,
        "goal": goal.tolist(),
        "best_goal": best_goal,
    }
    cooled = f"τ from {options.first_temperature:g} to {options.temperature:g}"
    table = Table(title=f"Goal position, {cooled}")
    table.add_column("goal at (row, column)")
    table.add_column("leader's value", justify="right")
    for name, place, value in (
        ("at first", x0.tolist(), first),
        (f"after {result.steps} steps", goal.tolist(), last),
        (f"best of {values.size}", best_goal, best),
    ):
        table.add_row(f"{name}: ({place[0]:.2f}, {place[1]:.2f})", f"{value:.4f}")
    return Outcome(
        summary=summarize_result(
            result,
            status,
            objective=-last,
            problem=options.problem,
            method=options.method,
            metrics=metrics,
        ),
        history=history,
        report=[table, *warnings(result, status)],
        figures={
            "landscape": lambda: figures.landscape(
                instance, values, (np.asarray(x0), np.asarray(goal)), found.visits
            ),
            "convergence": lambda: draw_history(options.curves, options.method, history),
        },
        x=goal,
        result=result,
    )


def landscape(instance: GoalPosition) -> np.ndarray:
    """The leader's value for goals on a grid (M,M), four a cell and direction."""
    values = -evaluate(instance.problem(), jnp.asarray(_goals(instance))).objective
    side = round(np.sqrt(len(values)))
    return values.reshape(side, side)


def _goals(instance: GoalPosition) -> np.ndarray:
    side = np.linspace(0, instance.size - 1, _FINE * (instance.size - 1) + 1)
    return np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
