"""`sobirl run tabular`: the best incentives for a user's own problem, from tables."""

import dataclasses

import jax
import numpy as np
import optax
from jaxtyping import Bool, Float, Int
from rich.table import Table
from rich.text import Text

from sobirl.bilevel import Recorder, Result, minimize, scalar_adam
from sobirl.experiments.evaluation import Evaluation, evaluate
from sobirl.experiments.tabular import figures
from sobirl.experiments.tabular.options import TabularRun
from sobirl.hypergrad import Exact
from sobirl.problems.tabular import Tabular
from sobirl.runs.files import csv_text
from sobirl.runs.outcome import Outcome, best_history, summarize_result, warnings

_MOST_ROWS = 100_000  # of response.csv, some 10 MB


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the follower does at some x.

    Attributes:
        leader_value: the leader's expected discounted return.
        policy: π(a|s) (S,A).
        visits: expected discounted times that an action is taken in a state (S,A).
        uses: the same, weighted with the size of every feature (n,).
    """

    leader_value: float
    policy: np.ndarray
    visits: np.ndarray
    uses: np.ndarray


def run(options: TabularRun, recorder: Recorder | None = None) -> Outcome:
    """Optimize from all starts, and compare the best x with no incentives at all."""
    tables = options.tables
    result = _minimize(options, recorder)
    points = np.stack([np.zeros_like(result.x), result.x])
    found = evaluate(tables.problem(), points)
    before, after = responses(tables, found)
    status = max(result.status, found.status)
    metrics = {
        "leader_value": after.leader_value,
        "leader_value_without_incentives": before.leader_value,
        "leader_value_mean": -float(np.nanmean(result.start_objectives)),
        "leader_value_worst": -float(np.nanmax(result.start_objectives)),
        "incentives": dict(zip(tables.feature_names, result.x.tolist(), strict=True)),
        "budget_used": float(np.abs(result.x).sum()),
    }
    return Outcome(
        summary=summarize_result(
            result,
            status,
            objective=result.objective,
            problem=options.problem,
            method="exact",
            metrics=metrics,
            notes=tables.notes(),
        ),
        history=best_history(result),
        report=[
            *map(Text, tables.notes()),
            _table(options, result, before, after),
            *warnings(result, status),
        ],
        figures={
            "incentives": lambda: figures.incentives(tables, result.x, *options.limits),
            "response": lambda: figures.response(tables, before, after),
            "convergence": lambda: figures.convergence(result),
        },
        x=result.x,
        files={
            "incentives.csv": _incentives_csv(tables, result.x, before, after),
            "response.csv": _response_csv(tables, before, after),
        },
    )


def _minimize(options: TabularRun, recorder: Recorder | None) -> Result:
    tables = options.tables
    unit = _unit_of_x(options)
    learning_rate = unit / 10 if options.learning_rate is None else options.learning_rate
    schedule = optax.cosine_decay_schedule(learning_rate, options.num_steps)
    random = unit * jax.random.normal(
        jax.random.key(options.seed), (options.starts, len(tables.feature_names))
    )
    x0 = random.at[0].set(0.0)
    return minimize(
        tables.problem(),
        x0 if options.starts > 1 else x0[0],
        method=Exact(),
        # Entries that share a budget must not be scaled one by one.
        optimizer=optax.adam(schedule) if options.budget is None else scalar_adam(schedule),
        num_steps=options.num_steps,
        key=options.seed,
        starts=options.starts,
        projection=options.projection,
        tolerance=options.tolerance,
        progress=options.progress,
        recorder=recorder,
    )


def _unit_of_x(options: TabularRun) -> float:
    """How much of an incentive matters: as much as the rewards differ, if the bounds allow it."""
    tables = options.tables
    rewards, features = tables.reward[tables.active], np.abs(tables.features[tables.active])
    sizes = features.reshape(-1, features.shape[-1]).max(axis=0)
    used = sizes[sizes > 0]
    unit = (float(np.ptp(rewards)) or 1.0) / (float(np.median(used)) if used.size else 1.0)
    lower, upper = options.limits
    widths = (upper - lower)[(upper > lower) & np.isfinite(upper - lower)]
    return min([unit, *widths, *([] if options.budget is None else [options.budget])])


def _table(options: TabularRun, result: Result, before: Answer, after: Answer) -> Table:
    title = "example" if options.mdp is None else options.mdp.name
    norm = "" if options.projection is None else "projected "
    table = Table(
        title=Text(f"Best incentives: {title}"),
        caption=f"uses: expected discounted times; {norm}gradient norm "
        f"{result.projected_gradient_norm:.1e} after {result.steps} steps",
    )
    table.add_column("incentive")
    for column in ("x", "uses without", "uses with"):
        table.add_column(column, justify="right")
    for name, *numbers in zip(
        options.tables.feature_names, result.x, before.uses, after.uses, strict=True
    ):
        table.add_row(Text(name), *(f"{number:.4g}" for number in numbers))
    table.add_section()
    values = (f"{before.leader_value:.5g}", f"{after.leader_value:.5g}")
    table.add_row("[bold]leader value[/bold]", "", *values)
    return table


def responses(tables: Tabular, found: Evaluation) -> list[Answer]:
    """The follower's responses at the points that were evaluated."""
    answers = []
    for objective, policy, visits in zip(*found[:3], strict=True):
        visits = np.where(tables.active, visits, 0.0)
        uses = np.einsum("sa,san->n", visits, np.abs(tables.features))
        answers.append(Answer(-float(objective), policy, visits, uses))
    return answers


def _incentives_csv(tables: Tabular, x, before: Answer, after: Answer) -> str:
    rows = zip(tables.feature_names, x, before.uses, after.uses, strict=True)
    return csv_text(("incentive", "x", "uses_without", "uses_with"), rows)


def _response_csv(tables: Tabular, before: Answer, after: Answer) -> str:
    names = ("policy_without", "policy_with", "visits_without", "visits_with")
    columns = [
        r for pair in ("policy", "visits") for r in (getattr(before, pair), getattr(after, pair))
    ]
    rows = (
        (tables.states[s], tables.actions[a], *(column[s, a] for column in columns))
        for s, a in _most_visited(tables.active, np.maximum(before.visits, after.visits))
    )
    return csv_text(("state", "action", *names), rows)


def _most_visited(
    active: Bool[np.ndarray, "S A"], visits: Float[np.ndarray, "S A"]
) -> Int[np.ndarray, "N 2"]:
    """The active pairs in order, or as many of them as a table is good for, by their visits."""
    pairs = np.argwhere(active)
    if len(pairs) <= _MOST_ROWS:
        return pairs
    rarest_last = np.argsort(-visits[active], kind="stable")
    return pairs[np.sort(rarest_last[:_MOST_ROWS])]
