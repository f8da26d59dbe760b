"""`sobirl run preferences`: a reward from comparisons, the smallest model of it."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge

from sobirl.core.errors import InvalidInputError
from sobirl.experiments.descent import DescentOptions
from sobirl.hypergrad.methods import methods_for
from sobirl.runs.benchmark import Benchmark
from sobirl.runs.options import Choices, Count, NotNegative, Positive, require

if TYPE_CHECKING:
    import numpy as np

    from sobirl.bilevel import BilevelProblem
    from sobirl.problems.preferences import Preferences


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreferencesRun(DescentOptions):
    """Preferences: learn a reward from comparisons of what its own follower does, in a random MDP.

    By default with the paper's model-free method: sobirl run preferences --method sobirl

    A reward too poor to be right: sobirl run preferences --dimension 2 --objective win-rate
    """

    problem = "preferences"
    objective_label = "objective on 20,000 fresh pairs"
    benchmarks = (
        Benchmark(
            measure="objective",
            first="objective_at_first",
            label="the cross-entropy of preferences",
            options={"states": 3, "actions": 2, "length": 3, "num_steps": 100},
            full={"num_steps": 2000},
            larger_is_better=False,
        ),
    )

    states: Annotated[int, Ge(2)] = 6
    """Number of states S."""
    actions: Count = 3
    """Number of actions A."""
    dimension: Count = 4
    """Number of features n of the learned reward: the fewer, the less it can be right."""
    realizable: bool = False
    """Draw the true reward among those that can be learned."""
    scale: Positive = 1.0
    """Standard deviation of the true reward: how decided the teacher is."""
    temperature: Positive = 0.5
    """The follower's entropy weight, in units of reward."""
    length: Count = 5
    """Steps of the trajectories that are compared."""
    pairs: Count | None = None
    """Learn from so many answered pairs of a uniform policy, given once; by default from what the
    follower does now."""
    objective: Literal["loss", "kl", "win-rate"] = "loss"
    """What the follower's response is judged by: the cross-entropy of the preferences, the same
    without the teacher's entropy, or how often the teacher prefers a reference to it."""
    reference: Path | None = None
    """Of win-rate: the x.npz of an earlier run, whose policy is the reference; by default the
    uniform policy."""
    win_weight: NotNegative | None = None
    """Of win-rate: its weight beside the cross-entropy, 1 by default; 0 is plain learning."""
    method: Annotated[str, Choices(lambda: methods_for("loss"))] = "sobirl"
    """How to get the hyper-gradient."""

    def validate(self) -> None:
        """Check the options, and that the reference is an x of this size."""
        super().validate()
        for name, option in (("reference", self.reference), ("win_weight", self.win_weight)):
            alone = option is None or self.objective == "win-rate"
            require(self.called(name), str(option), alone, "goes with --objective win-rate only")
        if self.reference is not None:
            _ = self.reference_x

    @property
    def reference_x(self) -> "np.ndarray":
        """The x of the earlier run.

        Raises:
            InvalidInputError: there is none, or it has another number of features.
        """
        from sobirl.runs.solution import read_solution

        assert self.reference is not None
        x = read_solution(self.reference)
        shape = getattr(x, "shape", "several arrays")
        if shape != (self.dimension,):
            raise InvalidInputError(
                f"--reference {self.reference}: must be the x of a run with this --dimension, of "
                f"shape {(self.dimension,)}, got {shape}"
            )
        return x

    @property
    def preferences(self) -> "Preferences":
        """The random instance."""
        from sobirl.problems.preferences import Preferences

        return Preferences.generate(
            self.states,
            self.actions,
            self.dimension,
            self.length,
            seed=self.seed,
            scale=self.scale,
            temperature=self.temperature,
            realizable=self.realizable,
        )

    def instance(self) -> "tuple[BilevelProblem, Any]":
        """The problem of the instance, and the reward 0."""
        import jax
        import jax.numpy as jnp

        from sobirl.solvers import solve

        instance, reference, given = self.preferences, None, None
        if self.reference is not None:
            reference = solve(instance.follower(self.reference_x)).policy
        if self.pairs is not None:
            given = instance.labelled_pairs(self.pairs, jax.random.key(self.seed))
        problem = instance.problem(
            self.objective, reference=reference, weight=self.win_weight, given=given
        )
        return problem, jnp.zeros(self.dimension)

    def judge(self, problem: "BilevelProblem", x: Any) -> float:
        """The mean objective of pairs that the follower at x makes, always with the same key."""
        return self._judged(problem, x)["objective"]

    def measures(self, problem: "BilevelProblem", x: Any) -> dict[str, float]:
        """The same of other objectives, and the return.

        `divergence` is the cross-entropy without the teacher's entropy, `win_rate` that against the
        uniform policy, `true_return` the discounted return in the teacher's reward.
        """
        return {name: v for name, v in self._judged(problem, x).items() if name != "objective"}

    def _judged(self, problem: "BilevelProblem", x: Any) -> dict[str, float]:
        from sobirl.experiments.preferences.judgment import judge

        return {name: float(value) for name, value in judge(self.preferences, problem, x).items()}
