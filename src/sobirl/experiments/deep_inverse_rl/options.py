"""Options of `sobirl run deep-inverse-rl`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sobirl.core.errors import InvalidInputError
from sobirl.experiments.learner_options import LearnerOptions
from sobirl.runs.curves import Curve
from sobirl.runs.options import Count, NotNegative, Positive, StepwiseOptions, aside

if TYPE_CHECKING:
    from sobirl.bilevel import Recorder
    from sobirl.runs.journal import Journal
    from sobirl.runs.outcome import Outcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepInverseRLRun(StepwiseOptions, LearnerOptions):
    """Inverse reinforcement learning in any environment: a reward network from demonstrations.

    sobirl run deep-inverse-rl --env Pendulum-v1 --demonstrations EPISODES.npz

    Without --demonstrations an expert is trained first, on the environment's own reward, and its
    episodes are kept in demonstrations.npz.
    """

    problem = "deep-inverse-rl"
    curves = (
        Curve("true_return", label="true return", x="environment_steps"),
        Curve("demonstrated", label="log π of a demonstrated step", x="environment_steps"),
        Curve("gap", label="reward of demonstrations less that of the policy",
              x="environment_steps"),
    )  # fmt: skip
    values = ("true_return", "expert_return", "random_return", "demonstrated")

    env: str = "Pendulum-v1"
    """An environment of gymnax or Gymnasium with continuous or discrete actions."""
    backend: Literal["gymnax", "gymnasium"] | None = None
    """Where the environment comes from; gymnax, which is fastest, where it has it."""
    demonstrations: Path | None = None
    """An .npz with `observation` (N,T,...) and `action` (N,T,...), as the environment takes
    them, of N episodes from their beginning; `mask` (N,T) where some are shorter, `reward` (N,T)
    where it should be compared."""
    expert_steps: Count = 40_000
    """Environment steps of the expert's, where there is no file."""
    num_demonstrations: Count = 10
    """Its episodes that are shown."""
    steps: Count = 60_000
    """Environment steps of the follower's."""
    bound: Positive = 1.0
    """Learned rewards lie within ± this."""
    penalty: NotNegative = 0.0
    """λ of λ/2 E r²."""
    reward_rate: Positive = 1e-3
    """Of Adam, for the reward."""
    round_steps: Count = 256
    """Environment steps from one step of the reward to the next."""
    checkpoint_seconds: NotNegative = aside(30.0)
    """The least time between two checkpoints, each of which holds the whole replay."""

    @property
    def journal(self) -> "type[Journal]":
        """What records the rounds."""
        from sobirl.runs.journal import Journal

        return Journal

    def validate(self) -> None:
        """Check the options, and that the file can be read."""
        super().validate()
        if self.steps <= self.random_steps:
            raise InvalidInputError(
                f"--steps {self.steps}: must be more than --random-steps {self.random_steps}"
            )
        if self.demonstrations is not None:
            from sobirl.experiments.deep_inverse_rl.demonstrations import read_arrays_of

            read_arrays_of(self.demonstrations)

    def run(self, recorder: "Recorder | None" = None) -> "Outcome":
        """All rounds."""
        try:
            from sobirl.experiments.deep_inverse_rl.run import run
        except ImportError as error:
            # The deep world needs packages that the rest of sobirl does without.
            raise InvalidInputError(
                f"deep-inverse-rl needs further packages ({error}): pip install 'sobirl[envs]'"
            ) from error
        return run(self, recorder)
