"""`sobirl run tabular`: the best incentives for a user's own problem, from tables."""

import dataclasses
import functools
import math
from pathlib import Path

import jax
import numpy as np
import optax
from rich.table import Table
from rich.text import Text

from sobirl.bilevel import Projection, Recorder, Result, box, budget, minimize, scalar_adam
from sobirl.core.errors import InvalidInputError
from sobirl.hypergrad import Exact
from sobirl.problems.tabular import Tabular, example, load
from sobirl.runs.evaluation import Evaluation, evaluate
from sobirl.runs.figures import tabular as figures
from sobirl.runs.files import csv_text
from sobirl.runs.options import StepwiseOptions, require, require_count, require_positive
from sobirl.runs.outcome import Outcome, best_history, summarize_result, warnings


@dataclasses.dataclass(frozen=True, kw_only=True)
class TabularRun(StepwiseOptions):
    """Your own problem from tables: the incentives x that make the follower do what you want.

    From two CSV files: sobirl run tabular --mdp transitions.csv --rewards rewards.csv --budget 2

    From one .npz: sobirl run tabular --mdp problem.npz --lower 0

    Without --mdp: an example, tolls that keep cars away from a school street.
    """

    problem = "tabular"

    mdp: Path | None = None
    """A CSV file with the columns state, action, next_state, probability; or an .npz with all."""
    rewards: Path | None = None
    """The second CSV file: columns state, action, reward, leader_reward, and one for each entry of
    x, with what a unit of it adds to the follower's reward."""
    discount: float | None = None
    """The follower's discount factor, in [0, 1); by default the file's or 0.95."""
    temperature: float | None = None
    """The follower's entropy weight, in units of its reward; by default the file's or 0.1."""
    leader_discount: float | None = None
    """The leader's discount factor; by default the file's or the follower's."""
    transfer: float | None = None
    """The share of what x gives the follower that the leader pays: 1 where subsidies are paid out
    and tolls are earned, 0 (the default) where incentives cost nothing."""
    initial: str | None = None
    """The state in which everything begins; by default the file's distribution, or uniform."""
    lower: tuple[float, ...] | None = None
    """Lower bound on x: one number, or one an entry."""
    upper: tuple[float, ...] | None = None
    """Upper bound on x: one number, or one an entry."""
    budget: float | None = None
    """The most that the sizes |x| may sum to."""
    starts: int = 8
    """Starts that run side by side: the first from x = 0, the others from random incentives."""
    num_steps: int = 500
    """Outer steps of every start."""
    step_size: float | None = None
    """First step size, in units of x; it decays to 0 along a cosine. By default a hundredth of the
    spread of the follower's rewards."""
    tolerance: float = 1e-6
    """`converged` means that the norm of the hyper-gradient fell below this; with bounds or a
    budget, that of the projected one."""

    def validate(self) -> None:
        """Check the options and every row of the files."""
        super().validate()
        require_count("--starts", self.starts)
        require_count("--num-steps", self.num_steps)
        require_positive("--tolerance", self.tolerance)
        for name in ("step_size", "budget"):
            if getattr(self, name) is not None:
                require_positive(f"--{name.replace('_', '-')}", getattr(self, name))
        if self.mdp is None:
            require("--rewards", self.rewards, self.rewards is None, "needs --mdp beside it")
        count = len(self._tables.feature_names)
        for name in ("lower", "upper"):
            bound = getattr(self, name)
            if bound is None:
                continue
            right = f"must be one number or {count}, one an entry of x"
            require(f"--{name}", " ".join(map(str, bound)), len(bound) in (1, count), right)
        try:
            _ = self._projection
        except InvalidInputError as error:
            raise InvalidInputError(f"--lower, --upper, --budget: {error}") from error

    def run(self, recorder: Recorder | None = None) -> Outcome:
        """Optimize from all starts, and compare the best x with no incentives at all."""
        tables = self._tables
        result = self._minimize(recorder)
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
                problem=self.problem,
                method="exact",
                metrics=metrics,
                notes=tables.notes(),
            ),
            history=best_history(result),
            report=[
                *map(Text, tables.notes()),
                self._table(result, before, after),
                *warnings(status),
            ],
            figures={
                "incentives": lambda: figures.incentives(tables, result.x, *self._limits),
                "response": lambda: figures.response(tables, before, after),
                "convergence": lambda: figures.convergence(result),
            },
            files={
                "incentives.csv": _incentives_csv(tables, result.x, before, after),
                "response.csv": _response_csv(tables, before, after),
            },
        )

    @functools.cached_property
    def _tables(self) -> Tabular:
        names = ("discount", "temperature", "leader_discount", "transfer", "initial")
        changes = {name: getattr(self, name) for name in names}
        if self.mdp is not None:
            return load(self.mdp, self.rewards, **changes)
        given = {name: value for name, value in changes.items() if value is not None}
        if self.initial is not None:
            given["initial"] = example().starting_in(self.initial)
        return dataclasses.replace(example(), **given)

    @property
    def _limits(self) -> tuple[np.ndarray, np.ndarray]:
        """The bounds on x (n,)."""
        shape = len(self._tables.feature_names)
        lower, upper = self.lower or (-math.inf,), self.upper or (math.inf,)
        return np.broadcast_to(lower, shape), np.broadcast_to(upper, shape)

    @property
    def _projection(self) -> Projection | None:
        if self.budget is not None:
            return budget(self.budget, *self._limits)
        return None if self.lower is None and self.upper is None else box(*self._limits)

    def _minimize(self, recorder: Recorder | None) -> Result:
        tables = self._tables
        rewards = tables.reward[tables.active]
        spread = float(np.ptp(rewards)) or 1.0
        step_size = spread / 100 if self.step_size is None else self.step_size
        schedule = optax.cosine_decay_schedule(step_size, self.num_steps)
        random = spread * jax.random.normal(
            jax.random.key(self.seed), (self.starts, len(tables.feature_names))
        )
        x0 = random.at[0].set(0.0)
        return minimize(
            tables.problem(),
            x0 if self.starts > 1 else x0[0],
            method=Exact(),
            # Entries that share a budget must not be scaled one by one.
            optimizer=optax.adam(schedule) if self.budget is None else scalar_adam(schedule),
            num_steps=self.num_steps,
            key=self.seed,
            starts=self.starts,
            projection=self._projection,
            tolerance=self.tolerance,
            progress=self.progress,
            recorder=recorder,
        )

    def _table(self, result: Result, before: "Response", after: "Response") -> Table:
        title = "example" if self.mdp is None else self.mdp.name
        norm = "" if self._projection is None else "projected "
        table = Table(
            title=Text(f"Best incentives: {title}"),
            caption=f"uses: expected discounted times; {norm}gradient norm "
            f"{result.projected_gradient_norm:.1e} after {result.steps} steps",
        )
        table.add_column("incentive")
        for column in ("x", "uses without", "uses with"):
            table.add_column(column, justify="right")
        for name, *numbers in zip(
            self._tables.feature_names, result.x, before.uses, after.uses, strict=True
        ):
            table.add_row(Text(name), *(f"{number:.4g}" for number in numbers))
        table.add_section()
        values = (f"{before.leader_value:.5g}", f"{after.leader_value:.5g}")
        table.add_row("[bold]leader value[/bold]", "", *values)
        return table


@dataclasses.dataclass(frozen=True)
class Response:
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


def responses(tables: Tabular, found: Evaluation) -> list[Response]:
    """The follower's responses at the points that were evaluated."""
    answers = []
    for objective, policy, visits in zip(*found[:3], strict=True):
        visits = np.where(tables.active, visits, 0.0)
        uses = np.einsum("sa,san->n", visits, np.abs(tables.features))
        answers.append(Response(-float(objective), policy, visits, uses))
    return answers


def _incentives_csv(tables: Tabular, x, before: Response, after: Response) -> str:
    rows = zip(tables.feature_names, x, before.uses, after.uses, strict=True)
    return csv_text(("incentive", "x", "uses_without", "uses_with"), rows)


def _response_csv(tables: Tabular, before: Response, after: Response) -> str:
    names = ("policy_without", "policy_with", "visits_without", "visits_with")
    columns = [
        r for pair in ("policy", "visits") for r in (getattr(before, pair), getattr(after, pair))
    ]
    rows = (
        (tables.states[s], tables.actions[a], *(column[s, a] for column in columns))
        for s, a in np.argwhere(tables.active)
    )
    return csv_text(("state", "action", *names), rows)
