"""Options of `sobirl run incentives`."""

import dataclasses
from typing import TYPE_CHECKING, Any

from sobirl.core.errors import InvalidInputError
from sobirl.experiments.incentives.settings import Settings
from sobirl.runs.benchmark import Benchmark
from sobirl.runs.curves import Curve
from sobirl.runs.options import Count, NotNegative, StepwiseOptions, Whole, aside, require

if TYPE_CHECKING:
    from sobirl.bilevel import Recorder
    from sobirl.runs.journal import Journal
    from sobirl.runs.outcome import Outcome
    from sobirl.runs.saved import SavedRun


@dataclasses.dataclass(frozen=True, kw_only=True)
class IncentivesRun(StepwiseOptions, Settings):
    """Design incentives for a follower that learns: in any environment, for any aim of the leader.

    sobirl run incentives --env my_module:MyEnv --leader aim.py:aim --budget 0.1

    The follower learns on the environment's reward plus the incentives; the leader sees what that
    makes of its own reward and follows the hyper-gradient. docs/incentives.md has more.
    """

    problem = "incentives"
    curves = (
        Curve("leader_return", label="leader's return", x="environment_steps"),
        Curve("follower_return", label="follower's return", x="environment_steps"),
        Curve("spent", label="mean incentive", x="environment_steps"),
    )

    benchmarks = (
        Benchmark(
            name="incentives",
            measure="leader_return",
            first="leader_return_before",
            label="the leader's return on a frozen lake, less what it pays",
            options={
                "env": "FrozenLake-v1",
                "backend": "gymnasium",
                "sign": "pay",
                "price": 0.5,
                "steps": 20_000,
            },
            full={"steps": 200_000},
            steps="steps",
            quick=False,
        ),
    )

    leader: str | None = None
    """FILE.py:function, the leader's reward as function(observation, action, next_observation, x)
    of one step, written with jax.numpy; by default the environment's own reward."""
    leader_from_info: bool = False
    """The leader's reward is what the environment gives as info["leader_reward"]."""
    features: tuple[Whole, Whole] | None = None
    """The two numbers of an observation over which the incentives are drawn; 0 1 by default."""
    clips: Whole = 1
    """Episodes to film, of the follower before the first incentive and of that at the end."""
    clip_steps: Count = 200
    """Steps after which a clip is cut off."""
    checkpoint_seconds: NotNegative = aside(30.0)
    """The least time between two checkpoints, each of which holds the whole replay."""

    @property
    def journal(self) -> "type[Journal]":
        """What records the rounds."""
        from sobirl.runs.journal import Journal

        return Journal

    def validate(self) -> None:
        """Check the options."""
        super().validate()
        if self.leader is not None:
            name, colon, function = self.leader.rpartition(":")
            holds = bool(colon and name.endswith(".py") and function.isidentifier())
            require("--leader", self.leader, holds, "must be FILE.py:function")
            require(
                "--leader-from-info", "both", not self.leader_from_info, "or --leader must be given"
            )

    def learned(self, saved: "SavedRun") -> dict[str, Any]:
        """The follower's policy, and as its reward what it is paid."""
        from sobirl.experiments.incentives.loading import learned

        return learned(self, saved)

    def run(self, recorder: "Recorder | None" = None) -> "Outcome":
        """All rounds."""
        try:
            from sobirl.experiments.incentives.run import run
        except ImportError as error:
            # The deep world needs packages that the rest of sobirl does without.
            raise InvalidInputError(
                f"incentives needs further packages ({error}): pip install 'sobirl[envs]'"
            ) from error
        return run(self, recorder)
