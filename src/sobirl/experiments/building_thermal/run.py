"""The end of `sobirl run building-thermal`: moments, the simulator, and published values."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from sobirl.bilevel import Result
from sobirl.experiments.building_thermal import BuildingThermalRun, figures
from sobirl.problems.building_thermal import (
    PUBLISHED,
    ZONES,
    BuildingThermal,
    rates,
    simulated_returns,
)
from sobirl.runs.files import csv_text
from sobirl.runs.outcome import Outcome
from sobirl.solvers import solve


def outcome(options: BuildingThermalRun, found: Outcome, result: Result) -> Outcome:
    """Add what the building means to what every descent reports."""
    design = options.design
    x = jax.tree.map(jnp.asarray, found.x)
    told = found.summary["metrics"]
    first, last = -told["objective_at_first"], -told["objective"]
    response = solve(design.building.follower(x))
    returns = np.asarray(
        simulated_returns(x, response, jax.random.key(options.seed), options.walkers)
    )
    simulated, error = float(returns.mean()), float(returns.std() / np.sqrt(len(returns)))
    at = rates(x)
    built = {name: np.asarray(at[name]).tolist() for name in ("insulation", "coupling")}
    seconds = result.compile_seconds + result.run_seconds
    metrics = {
        "leader_return": last,
        "leader_return_at_first": first,
        "leader_return_simulated": simulated,
        "leader_return_simulated_error": error,
        **built,
        "seconds": seconds,
        "published": PUBLISHED,
    }
    courses = {
        "before": _course(design, design.x0()),
        "after": _course(design, x),
    }
    picture = lambda: figures.building(courses, {"before": first, "after": last})  # noqa: E731
    return dataclasses.replace(
        found,
        summary={**found.summary, "metrics": {**told, **metrics}},
        report=[_table(options, first, last, (simulated, error), built), *found.report[1:]],
        figures={"building": picture, **found.figures},
        files={"building.csv": _csv(built)},
    )


def _course(design: BuildingThermal, x) -> figures.Course:
    unevenness, energy = design.building.course(x, solve(design.building.follower(x)))
    at = rates(x)
    return figures.Course(*map(np.asarray, (at["insulation"], at["coupling"], unevenness, energy)))


def _table(options, first, last, simulated, built) -> Table:
    numbers = (f"{name} {' '.join(f'{rate:.2f}' for rate in of)}" for name, of in built.items())
    table = Table(title=f"Building thermal control, {options.method}", caption="; ".join(numbers))
    table.add_column("")
    table.add_column("designer's return", justify="right")
    table.add_row("first building", f"{first:.2f}")
    table.add_row(f"after {options.num_steps} steps", f"[bold]{last:.2f}[/bold]")
    table.add_row("simulated", f"{simulated[0]:.2f} ± {simulated[1]:.2f}", end_section=True)
    for name, value in PUBLISHED.items():
        table.add_row(f"published: {name}", f"{value}")
    return table


def _csv(built: dict[str, list[float]]) -> str:
    """Zones, and the coupling of each with the next."""
    rows = zip(range(1, ZONES + 1), built["insulation"], built["coupling"], strict=True)
    return csv_text(("zone", "insulation", "coupling_with_next"), rows)
