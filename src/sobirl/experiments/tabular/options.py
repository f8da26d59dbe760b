"""Options of `sobirl run tabular`."""

import dataclasses
import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sobirl.core.errors import InvalidInputError
from sobirl.runs.options import Count, Positive, StepwiseOptions, require

if TYPE_CHECKING:
    import numpy as np

    from sobirl.bilevel import Projection, Recorder
    from sobirl.problems.tabular import Tabular
    from sobirl.runs.outcome import Outcome
    from sobirl.runs.saved import SavedRun


@dataclasses.dataclass(frozen=True, kw_only=True)
class TabularRun(StepwiseOptions):
    """Your own problem from tables: the incentives x that make the follower do what you want.

    From two CSV files: sobirl run tabular --mdp transitions.csv --rewards rewards.csv --budget 2

    From one .npz, or a folder for big ones: sobirl run tabular --mdp problem.npz --lower 0

    Without --mdp: an example, tolls that keep cars away from a school street.
    """

    problem = "tabular"

    mdp: Path | None = None
    """A CSV file with the columns state, action, next_state, probability; or an .npz or a
    folder with all."""
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
    budget: Positive | None = None
    """The most that the sizes |x| may sum to."""
    starts: Count = 8
    """Starts that run side by side: the first from x = 0, the others from random incentives."""
    num_steps: Count = 500
    """Outer steps of every start."""
    learning_rate: Positive | None = None
    """First step size, in units of x; it decays to 0 along a cosine. By default a tenth of
    what matters: the spread of the follower's rewards, in units of x, or the width of the bounds or
    the budget if that is less."""
    tolerance: Positive = 1e-6
    """`converged` means that the norm of the hyper-gradient fell below this; with bounds or a
    budget, that of the projected one."""

    def validate(self) -> None:
        """Check the options and every row of the files."""
        super().validate()
        if self.mdp is None:
            require("--rewards", self.rewards, self.rewards is None, "needs --mdp beside it")
        count = len(self.tables.feature_names)
        for name in ("lower", "upper"):
            bound = getattr(self, name)
            if bound is None:
                continue
            right = f"must be one number or {count}, one an entry of x"
            require(f"--{name}", " ".join(map(str, bound)), len(bound) in (1, count), right)
        try:
            _ = self.projection
        except InvalidInputError as error:
            raise InvalidInputError(f"--lower, --upper, --budget: {error}") from error

    def learned(self, saved: "SavedRun") -> dict[str, Any]:
        """The bilevel problem."""
        return {"problem": self.tables.problem()}

    def run(self, recorder: "Recorder | None" = None) -> "Outcome":
        """Optimize from all starts, and compare the best x with no incentives at all."""
        from sobirl.experiments.tabular.run import run

        return run(self, recorder)

    @functools.cached_property
    def tables(self) -> "Tabular":
        """The problem."""
        from sobirl.problems.tabular import example, load

        names = ("discount", "temperature", "leader_discount", "transfer", "initial")
        changes = {name: getattr(self, name) for name in names}
        if self.mdp is not None:
            return load(self.mdp, self.rewards, **changes)
        given = {name: value for name, value in changes.items() if value is not None}
        if self.initial is not None:
            given["initial"] = example().starting_in(self.initial)
        return dataclasses.replace(example(), **given)

    @property
    def limits(self) -> "tuple[np.ndarray, np.ndarray]":
        """The bounds on x (n,)."""
        import numpy as np

        shape = len(self.tables.feature_names)
        lower, upper = self.lower or (-math.inf,), self.upper or (math.inf,)
        return np.broadcast_to(lower, shape), np.broadcast_to(upper, shape)

    @property
    def projection(self) -> "Projection | None":
        """To the set in which x must lie."""
        from sobirl.bilevel import box, budget

        if self.budget is not None:
            return budget(self.budget, *self.limits)
        return None if self.lower is None and self.upper is None else box(*self.limits)
