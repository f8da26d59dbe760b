"""`sobirl run stackelberg`: options; what needs JAX is loaded late."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Annotated, Any

from sobirl.experiments.cooling import CoolingOptions
from sobirl.hypergrad.methods import methods_for
from sobirl.runs.benchmark import Benchmark, Published
from sobirl.runs.options import Choices, Positive

if TYPE_CHECKING:
    from sobirl.bilevel import Recorder
    from sobirl.problems.stackelberg import Stackelberg
    from sobirl.runs.outcome import Outcome
    from sobirl.runs.saved import SavedRun


def _games() -> list[str]:
    from sobirl.problems.games import GAMES

    return list(GAMES)


def _published() -> list[Published]:
    """The best commitment of the first game."""
    from sobirl.problems.games import conitzer_sandholm

    game = conitzer_sandholm()
    assert game.optimum is not None
    return [Published("best commitment", game.optimum, game.source)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StackelbergRun(CoolingOptions):
    """Stackelberg games: commit to a mixed strategy that a planning follower sees.

    The example of Conitzer and Sandholm (2006) by default; a guard on patrol, whom an intruder
    plans to evade: sobirl run stackelberg --game patrol
    """

    problem = "stackelberg"
    values = ("leader_payoff", "leader_payoff_at_first", "published_optimum")
    benchmarks = (
        Benchmark(
            measure="leader_payoff",
            first="leader_payoff_at_first",
            label="the leader's payoff",
            options={"num_steps": 200},
            full={"num_steps": 2000},
            published=_published,
        ),
    )

    game: Annotated[str, Choices(_games)] = "conitzer-sandholm"
    """What is played."""
    first_temperature: Positive = 0.3
    """The follower's at the first step; from it the follower cools over three quarters of the
    steps."""
    method: Annotated[
        str, Choices(lambda: methods_for("return", x_enters=("reward", "transition")))
    ] = "exact"
    """How to get the hyper-gradient."""

    def learned(self, saved: "SavedRun") -> dict[str, Any]:
        """The bilevel problem."""
        return {"problem": self.instance.problem()}

    def run(self, recorder: "Recorder | None" = None) -> "Outcome":
        """Find a commitment, beside the published one."""
        from sobirl.experiments.stackelberg.run import run

        return run(self, recorder)

    @functools.cached_property
    def instance(self) -> "Stackelberg":
        """The instance."""
        from sobirl.problems.stackelberg import Stackelberg

        return Stackelberg(self.game, self.temperature)
