"""Options of `sobirl run inverse-rl`."""

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from sobirl.core.errors import InvalidInputError
from sobirl.runs.curves import Curve
from sobirl.runs.options import Choices, Count, NotNegative, Positive, RunOptions, Share, require

if TYPE_CHECKING:
    from sobirl.bilevel import Recorder
    from sobirl.estimation.demonstrations import Demonstrations
    from sobirl.problems.inverse_rl import World
    from sobirl.runs.outcome import Outcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class InverseRLRun(RunOptions):
    """Inverse reinforcement learning: the reward under which demonstrations are most likely.

    sobirl run inverse-rl --mdp FOLDER --demonstrations STEPS.csv

    Without --mdp the demonstrators are simulated, and what is recovered is set beside the truth.
    """

    problem = "inverse-rl"
    curves = (
        Curve("objective", label="-log L a decision"),
        Curve("hypergradient_norm", label="norm of the gradient", log=True),
    )

    world: Annotated[str, Choices(lambda: ["terrain", "icu-sepsis"])] = "terrain"
    """A walker on a map, or simulated clinicians with real dynamics (extra [icu])."""
    mdp: Path | None = None
    """A folder that `sobirl.save_mdp` wrote, in the place of a world; its reward is what is known
    beforehand."""
    demonstrations: Path | None = None
    """CSV file with the columns episode, step, state, action (numbers from 0); else they are
    simulated."""
    episodes: Count = 200
    """Simulated episodes."""
    episode_steps: Count = 40
    """Steps after which these are cut off."""
    reward: Literal["features", "states", "table", "network"] | None = None
    """What is learned: weights of the world's features, a number for each state, or for each state
    and action, or a network of what a state looks like. By default features; states for --mdp."""
    objective: Annotated[str, Choices(lambda: ["likelihood", "causal-entropy"])] = "likelihood"
    """Likelihood of the decisions, or maximum causal entropy, which matches expected feature
    counts."""
    regularization: tuple[NotNegative, ...] | None = None
    """λ of λ/2 ‖x‖²; of several the one with the highest held-out likelihood. By default 0 for
    features, else 0.0001 0.001 0.01."""
    held_out: Share = 0.2
    """The share of episodes that only the held-out likelihood sees."""
    widths: tuple[Count, ...] = (32, 32)
    """Of a network's layers."""
    tolerance: Positive = 1e-5
    """`converged` means that the norm of the gradient fell below this."""

    def validate(self) -> None:
        """Check the options, the process and every row of the demonstrations."""
        super().validate()
        if self.mdp is not None:
            require("--demonstrations", "none", self.demonstrations is not None, "goes with --mdp")
            require(
                "--reward", self.kind, self.kind in ("states", "table"),
                "must be states or table: a folder has no features",
            )  # fmt: skip
        if len(self.penalties) > 1 and not self.held_out:
            raise InvalidInputError(
                "--held-out: several --regularization need episodes to choose by, got 0"
            )
        if self.demonstrations is not None:
            _ = self.read
        elif self.world == "icu-sepsis":
            from sobirl.problems.icu_sepsis import folder

            folder()  # is the package there?

    @property
    def kind(self) -> str:
        """What is learned."""
        return self.reward or ("features" if self.mdp is None else "states")

    @property
    def penalties(self) -> tuple[float, ...]:
        """All λ."""
        if self.regularization is not None:
            return self.regularization
        return (0.0,) if self.kind == "features" else (1e-4, 1e-3, 1e-2)

    @functools.cached_property
    def place(self) -> "World":
        """The world."""
        import numpy as np

        from sobirl.mdp import load_mdp
        from sobirl.problems.icu_sepsis import icu_sepsis
        from sobirl.problems.inverse_rl import World, terrain

        if self.mdp is not None:
            mdp = load_mdp(self.mdp)
            return World(mdp, np.zeros((*mdp.shape, 0)), (), None, np.zeros((mdp.shape[0], 0)))
        return terrain() if self.world == "terrain" else icu_sepsis()

    @functools.cached_property
    def read(self) -> "Demonstrations":
        """The demonstrations."""
        from sobirl.estimation.demonstrations import Demonstrations

        if self.demonstrations is not None:
            return Demonstrations.read(self.demonstrations, self.place.mdp)
        return self.place.simulate(self.episodes, self.episode_steps, self.seed)

    def run(self, recorder: "Recorder | None" = None) -> "Outcome":
        """Learn the reward; it takes seconds, so that there is nothing to record."""
        from sobirl.experiments.inverse_rl.run import run

        return run(self)
