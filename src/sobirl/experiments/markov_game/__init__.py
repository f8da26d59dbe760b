"""`sobirl run markov-game`: options; what needs JAX is loaded late."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Annotated, Any, Literal

from sobirl.experiments.descent import DescentOptions
from sobirl.hypergrad.methods import methods_for
from sobirl.runs.benchmark import Benchmark, Published
from sobirl.runs.options import Choices, Count, Positive, require

if TYPE_CHECKING:
    from sobirl.bilevel import BilevelProblem, Result
    from sobirl.problems.markov_game import Game
    from sobirl.runs.outcome import Outcome


def _published() -> list[Published]:
    from sobirl.problems.markov_game import PUBLISHED

    values = PUBLISHED["r1"].items()
    return [Published(name, value, "Kudo et al. (2026)") for name, value in values]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MarkovGameRun(DescentOptions):
    """Markov games (Kudo et al. 2026): a leader with a policy of its own, which its follower sees.

    Three states by default; try --game r2, --game lqr, and --method bc-hg, which plays.
    """

    problem = "markov-game"
    objective_label = "minus the leader's return"
    values = ("leader_return", "leader_return_undiscounted", "leader_return_at_first")
    benchmarks = (
        Benchmark(
            measure="leader_return",
            first="leader_return_at_first",
            label="the leader's return",
            options={"num_steps": 100},
            full={"num_steps": 1000},
            quick=False,
            published=_published,
        ),
    )

    game: Literal["r1", "r2", "lqr"] = "r1"
    """Three states with the follower's rewards R1 or R2, or two coordinates."""
    method: Annotated[str, Choices(lambda: methods_for("return", x_enters=("transition",)))] = (
        "exact"
    )
    """How to get the hyper-gradient; of lqr the exact one only."""
    environment_steps: Count = 10_000
    """Steps that a method which samples takes for each of its estimates."""
    num_steps: Count = 400
    """Outer steps."""
    learning_rate: Positive = 0.1
    """Step size on x: logits of the leader's policy, or its gain."""
    tolerance: Positive = 1e-4
    """`converged` means that the hyper-gradient's norm fell below this."""

    def validate(self) -> None:
        """Check the options."""
        super().validate()
        sees = self.game != "lqr" or self.method == "exact"
        require("--method", self.method, sees, "should be exact with --game lqr")

    def instance(self) -> "tuple[BilevelProblem, Any]":
        """The leader's first policy."""
        return self.played.problem(), self.played.x0()

    def outcome(self, result: "Result") -> "Outcome":
        """Judge the last policy over the game's steps."""
        from sobirl.experiments.markov_game.run import outcome

        return outcome(self, super().outcome(result), result)

    @functools.cached_property
    def played(self) -> "Game":
        """The game."""
        from sobirl.problems.markov_game import GAMES

        return GAMES[self.game]()
