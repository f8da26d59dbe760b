"""`sobirl run fleet`: the workshop's prices, and how the depot answers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.table import Table

from sobirl.bilevel import Recorder, Result, box, minimize
from sobirl.core.hoisting import hoisting_jit
from sobirl.core.status import Status
from sobirl.experiments.fleet import figures
from sobirl.experiments.fleet.options import FleetRun
from sobirl.hypergrad.budget import with_budget
from sobirl.problems.fleet import RUST_PRICE, Fleet
from sobirl.runs.files import csv_text
from sobirl.runs.outcome import Outcome, best_history, summarize_result, warnings
from sobirl.solvers import occupancy, solve

_FEW_STATES = 2_000  # up to which a curve of single prices takes seconds
_PRICES = 40  # on that curve


class Answer(NamedTuple):
    """How the depot answers to prices.

    Attributes:
        income: the workshop's a month.
        services: of a machine a month, by its wear (M,).
        time: the share of its time that a machine has each wear (M,).
        policy: π(a|s) (S,A).
        status: how the depot was solved.
    """

    income: jax.Array
    services: jax.Array
    time: jax.Array
    policy: jax.Array
    status: jax.Array


def run(options: FleetRun, recorder: Recorder | None = None) -> Outcome:
    """Set the prices, and compare with what Rust's company paid."""
    fleet = options.fleet
    result = _minimize(options, fleet, recorder)
    first, found = (_answer(fleet, jnp.asarray(x)) for x in (fleet.x0(), result.final_x))
    curve = _single_prices(options, fleet)
    metrics = {
        "income": float(found.income),
        "income_at_first": float(first.income),
        "services": float(found.services.sum()),
        "services_at_first": float(first.services.sum()),
        "prices": result.final_x.tolist(),
    }
    if curve is not None:
        prices, incomes, _ = curve
        metrics["best_single_price"] = float(prices[np.argmax(incomes)])
        metrics["best_single_income"] = float(incomes.max())
    status = max(result.status, *(Status(int(answer.status)) for answer in (first, found)))
    drawn = {"prices": lambda: figures.prices(fleet, result.final_x, first, found)}
    if curve is not None:
        drawn["single-price"] = lambda: figures.single_price(
            *curve, RUST_PRICE, result.final_x, metrics["income"]
        )
    if fleet.machines > 1:
        drawn["bay"] = lambda: figures.bay(fleet, {"Rust's price": first, "these prices": found})
    return Outcome(
        summary=summarize_result(
            result,
            status,
            objective=-metrics["income"],
            problem=options.problem,
            method=options.method,
            metrics=metrics,
        ),
        history=best_history(result),
        report=[_table(fleet, result, first, found), *warnings(result, status)],
        figures=drawn,
        files={"prices.csv": _prices_csv(fleet, result.final_x, first, found)},
        x=result.final_x,
        result=result,
    )


def _minimize(options: FleetRun, fleet: Fleet, recorder: Recorder | None) -> Result:
    steps = options.num_steps or (1 if options.large else 100)
    rate = options.learning_rate or (0.01 if options.large else 0.5)
    x0 = _best_for_one(options) if options.large else fleet.x0()
    method, problem = with_budget(options.method, fleet.problem(), options.environment_steps)
    return minimize(
        problem,
        jnp.clip(x0, 0.0, options.max_price),
        method=method,
        optimizer=optax.adam(optax.cosine_decay_schedule(rate, steps)),
        num_steps=steps,
        key=options.seed,
        projection=box(0.0, options.max_price),
        tolerance=options.tolerance,
        progress=options.progress,
        recorder=recorder,
    )


def _best_for_one(options: FleetRun) -> np.ndarray:
    """The prices that are best for a single machine: nearly those for a fleet of its kind."""
    alone = Fleet(1, options.size[1], options.bands, options.service_cost, options.discount)
    return minimize(
        alone.problem(),
        jnp.clip(alone.x0(), 0.0, options.max_price),
        optimizer=optax.adam(optax.cosine_decay_schedule(0.5, 100)),
        num_steps=100,
        projection=box(0.0, options.max_price),
        progress=False,
    ).x


@hoisting_jit
def _answer(fleet: Fleet, x: jax.Array) -> Answer:
    mdp = fleet.follower(x)
    solution = solve(mdp, throw=False)
    visits = occupancy(mdp, solution.policy)
    visits = (1 - fleet.discount) * visits
    shape = (fleet.wear_states,) * fleet.machines
    serviced = visits[:, 1].reshape(shape)  # the first machine stands for all
    others = tuple(range(1, fleet.machines))
    return Answer(
        income=jnp.sum(visits * fleet.leader_reward(x)) / (1 - fleet.discount),
        services=jnp.sum(serviced, axis=others),
        time=jnp.sum(jnp.sum(visits, axis=1).reshape(shape), axis=others),
        policy=solution.policy,
        status=solution.status_code,
    )


def _single_prices(options: FleetRun, fleet: Fleet):
    """Income and services a machine by a single price, unless that would take long."""
    if fleet.wear_states**fleet.machines > _FEW_STATES:
        return None
    prices = options.max_price * np.arange(1, _PRICES + 1) / _PRICES
    answers = [_answer(fleet, jnp.full(fleet.bands, price)) for price in prices]
    incomes = np.array([answer.income for answer in answers])
    services = np.array([answer.services.sum() for answer in answers])
    return prices, incomes, services


def _table(fleet: Fleet, result: Result, first: Answer, found: Answer) -> Table:
    table = Table(
        title=f"fleet: {fleet.machines} machines, {len(first.policy):,} states",
        caption=f"projected gradient norm {result.projected_gradient_norm:.1e} after "
        f"{result.steps} steps",
    )
    table.add_column("")
    for column in ("Rust's price", "these prices"):
        table.add_column(column, justify="right")
    for name, numbers in {
        "income a month": (first.income, found.income),
        "services of a machine a year": (12 * first.services.sum(), 12 * found.services.sum()),
        "mean wear, in Rust's bins": (
            fleet.bins * np.arange(fleet.wear_states) @ first.time,
            fleet.bins * np.arange(fleet.wear_states) @ found.time,
        ),
    }.items():
        table.add_row(name, *(f"{float(number):.4g}" for number in numbers))
    table.add_section()
    for band, price in enumerate(result.final_x):
        low, high = fleet.bins * np.flatnonzero(fleet.band == band)[[0, -1]]
        table.add_row(f"price at wear {low:.0f} to {high:.0f}", f"{RUST_PRICE:.4g}", f"{price:.4g}")
    return table


def _prices_csv(fleet: Fleet, x: np.ndarray, first: Answer, found: Answer) -> str:
    rows = zip(
        range(fleet.wear_states),
        fleet.bins * np.arange(fleet.wear_states),
        np.asarray(x)[fleet.band],
        *(np.asarray(column) for a in (first, found) for column in (a.services, a.time)),
        strict=True,
    )
    header = (
        "wear_state",
        "mileage_bin",
        "price",
        "services_at_first",
        "time_at_first",
        "services",
        "time",
    )
    return csv_text(header, rows)
