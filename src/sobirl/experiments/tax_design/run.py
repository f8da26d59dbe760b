"""The end of `sobirl run tax-design`: grids beside the continuous simulator, and what it took."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from sobirl.bilevel import Result
from sobirl.experiments.evaluation import evaluate
from sobirl.experiments.tax_design import TaxDesignRun, figures
from sobirl.problems.tax_design import (
    PUBLISHED_SECONDS,
    SMALLEST,
    TYPES,
    TaxDesign,
    simulate,
    tax,
)
from sobirl.runs.files import csv_text
from sobirl.runs.outcome import Outcome


class Mean(NamedTuple):
    """A sample mean, and its standard error."""

    value: float
    error: float


def outcome(options: TaxDesignRun, found: Outcome, result: Result) -> Outcome:
    """Add what the taxes mean to what every descent reports."""
    design = options.design
    problem, x0 = options.instance()
    x = jax.tree.map(jnp.asarray, found.x)
    both = evaluate(problem, jax.tree.map(lambda *leaves: jnp.stack(leaves), x0, x))
    before, after = (-both.objective).tolist()
    coarser = max(SMALLEST, (options.points + 1) // 2)
    coarse = TaxDesign(options.temperature, coarser).problem()
    grids = {coarser: -float(coarse.value(x)), options.points: after}
    welfare = simulated_welfare(options, x)
    taxes = {moment: _rates(at) for moment, at in (("before", x0), ("after", x))}
    seconds = result.run_seconds / result.steps
    metrics = {
        "welfare": after,
        "welfare_at_first": before,
        "welfare_simulated": welfare.value,
        "welfare_simulated_error": welfare.error,
        "welfare_by_points": {str(points): value for points, value in grids.items()},
        "taxes": taxes["after"],
        "seconds_a_step": seconds,
        "published_seconds_a_step": PUBLISHED_SECONDS,
    }
    households = design.households
    pictures = {
        "households": lambda: figures.households(
            np.asarray(households.assets),
            {"before": (both.policy[0], both.visits[0]), "after": (both.policy[1], both.visits[1])},
            taxes,
            {"before": before, "after": after},
        )
    }
    return dataclasses.replace(
        found,
        summary={**found.summary, "metrics": {**found.summary["metrics"], **metrics}},
        report=[_table(options, taxes, before, after, welfare, grids, seconds), *found.report[1:]],
        figures={**pictures, **found.figures},
        files={"taxes.csv": csv_text(("tax", "rate"), taxes["after"].items())},
    )


def simulated_welfare(options: TaxDesignRun, x: dict) -> Mean:
    """The state's return from households with continuous assets, both types."""
    design = options.design
    responses = design.problem().respond(x)
    means, errors = [], []
    for kind, preferences in enumerate(jnp.array(TYPES)):
        key = jax.random.key(options.seed + kind)
        policy = responses.log_policy[kind]
        sums = simulate(design.households, x, preferences, policy, key, options.walkers)
        welfare = np.asarray(sums.welfare)
        means.append(welfare.mean())
        errors.append(welfare.std() / np.sqrt(len(welfare)))
    return Mean(float(np.mean(means)), float(np.hypot(*errors) / len(errors)))


def _rates(x: dict) -> dict[str, float]:
    goods = np.asarray(tax(x["goods"]))
    return {
        "income": float(tax(x["income"])),
        **{f"good {i}": float(rate) for i, rate in enumerate(goods, start=1)},
    }


def _table(options, taxes, before, after, welfare, grids, seconds) -> Table:
    table = Table(
        title=f"Tax design, temperature {options.temperature:g}, {options.method}",
        caption=f"{seconds:.2g} s an outer step; the published code takes {PUBLISHED_SECONDS:g} s",
    )
    for column in ("", "social welfare", *taxes["after"]):
        table.add_column(column, justify="right" if column else "left")
    table.add_row(
        "first taxes", f"{before:.4f}", *(f"{rate:.3f}" for rate in taxes["before"].values())
    )
    rates = (f"{rate:.3f}" for rate in taxes["after"].values())
    table.add_row("last taxes", f"[bold]{after:.4f}[/bold]", *rates, end_section=True)
    for points, value in grids.items():
        table.add_row(f"last taxes, {points} grid points", f"{value:.4f}")
    table.add_row("last taxes, simulated", f"{welfare.value:.3f} ± {welfare.error:.3f}")
    return table
