"""Options of `sobirl run rlhf`."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sobirl.core.errors import InvalidInputError
from sobirl.experiments.rlhf.settings import Settings
from sobirl.runs.benchmark import Benchmark
from sobirl.runs.curves import Curve
from sobirl.runs.options import NotNegative, StepwiseOptions, aside, require

if TYPE_CHECKING:
    from sobirl.bilevel import Recorder
    from sobirl.prefs import LabelledPair
    from sobirl.runs.journal import Journal
    from sobirl.runs.outcome import Outcome
    from sobirl.runs.saved import SavedRun


@dataclasses.dataclass(frozen=True, kw_only=True)
class RLHFRun(StepwiseOptions, Settings):
    """Learn a reward from preferences between fragments, while a follower learns on it.

    sobirl run rlhf --env CartPole-v1 --method sobirl --pairs 300 --steps 300000

    A simulated teacher who knows the environment's reward compares the fragments. Where an option
    has no default, a preset for the kind of environment decides; summary.json has what was chosen.
    """

    problem = "rlhf"
    curves = (
        Curve("eval_return", label="true return", x="environment_steps", by="seed"),
        Curve(
            "preference_accuracy",
            label="preferences predicted",
            x="environment_steps",
            by="seed",
        ),
        Curve(
            "held_out_accuracy",
            label="held-out preferences predicted",
            x="environment_steps",
            by="seed",
        ),
    )

    benchmarks = (
        Benchmark(
            name="rlhf",
            measure="true_return",
            first="first_evaluation",
            label="the true return on CartPole, of 500",
            options={"env": "CartPole-v1", "steps": 30_000, "pairs": 200},
            full={"steps": 300_000, "pairs": 1000},
            steps="steps",
            quick=False,
        ),
    )

    checkpoint_seconds: NotNegative = aside(60.0)
    """The least time between two checkpoints, each of which holds the whole replay."""

    @property
    def journal(self) -> "type[Journal]":
        """What records the rounds."""
        from sobirl.runs.journal import Journal

        return Journal

    @property
    def kept(self) -> Sequence[str]:
        """What people said, if they were asked."""
        from sobirl.runs.saved import LABELS

        return [LABELS] if self.teacher == "human" else []

    def validate(self) -> None:
        """Check the options."""
        super().validate()
        if self.target_entropy is not None and self.temperature not in (None, "auto"):
            require("--temperature", self.temperature, False, "must be auto with --target-entropy")

        if self.reward_linear:
            for name in ("pooling", "normalization"):
                value = getattr(self, f"reward_{name}")
                require(f"--reward-{name}", value, not value, "must be off with --reward-linear")

        if self.labels is not None:
            is_learned, has_states = self.method != "ground-truth", self.horizon == 0
            require("--method", self.method, is_learned, "must be another with --labels")
            require("--horizon", self.horizon, has_states, "must be 0 with --labels")

        if self.teacher == "human":
            is_learned, has_states = self.method != "ground-truth", self.horizon == 0
            require("--method", self.method, is_learned, "must be another with --teacher human")
            require("--horizon", self.horizon, has_states, "must be 0 with --teacher human")
            require("--seeds", self.seeds, self.seeds == 1, "must be 1 with --teacher human")
        else:
            require("--wait-for", self.wait_for, not self.wait_for, "goes with --teacher human")

    def labelled(self, saved: "SavedRun") -> "list[LabelledPair]":
        """The labelled pairs of the last seed, as the last checkpoint has them.

        Raises:
            InvalidInputError: there is no checkpoint yet, or it is damaged.
        """
        from sobirl.experiments.rlhf.loading import labelled

        return labelled(self, saved)

    def learned(self, saved: "SavedRun") -> dict[str, Any]:
        """The policy and the reward of the last seed."""
        from sobirl.experiments.rlhf.loading import learned

        return learned(self, saved)

    def run(self, recorder: "Recorder | None" = None) -> "Outcome":
        """Learn with every seed, one after another."""
        try:
            from sobirl.experiments.rlhf.run import run
        except ImportError as error:
            # The deep world needs packages that the rest of sobirl does without.
            raise InvalidInputError(
                f"rlhf needs further packages ({error}): pip install 'sobirl[envs]'"
            ) from error
        return run(self, recorder)
