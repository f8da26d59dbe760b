"""Options of `sobirl run random-mdp`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge

from sobirl.experiments.descent import OneDescentOptions
from sobirl.hypergrad.methods import methods_for
from sobirl.runs.benchmark import Benchmark
from sobirl.runs.options import Choices, Count, Positive, require

if TYPE_CHECKING:
    from sobirl.bilevel import Result
    from sobirl.bilevel.batch import Descent
    from sobirl.runs.outcome import Outcome
    from sobirl.runs.saved import SavedRun


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomMDPRun(OneDescentOptions):
    """Random MDPs: the synthetic problem of Yang, Gao, Yuan (2025), or a harder variant.

    The paper's run: sobirl run random-mdp --method m-sobirl --num-steps 3000
    """

    problem = "random-mdp"
    benchmarks = (
        Benchmark(
            measure="exact_objective",
            first="exact_objective_at_first",
            label="the paper's objective",
            options={"num_steps": 300},
            full={"num_steps": 3000},
            larger_is_better=False,
        ),
    )

    instance: Path | None = None
    """An .npz that holds an instance of the paper's problem; otherwise one is drawn."""
    variant: Literal["paper", "target-policy"] = "paper"
    """What to draw: the paper's problem (optimum at x = 0), or an unattainable target policy."""
    states: Annotated[int, Ge(2)] | None = None
    """Number of states S of a drawn instance: 10, for target-policy 100."""
    actions: Count | None = None
    """Number of actions A of a drawn instance: 5."""
    dimension: Count | None = None
    """Number of entries n of the leader's x in a drawn instance: 100."""
    method: Annotated[str, Choices(methods_for)] = "m-sobirl"
    """How to get the hyper-gradient: exactly; by the paper's single loop (m-sobirl), that loop with
    the other adjoint step (-occupancy), or that one with a normalized policy (-normalized); ..."""
    num_steps: Count = 3000
    """Outer steps."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """Plain gradient descent as in the paper, or Adam."""
    learning_rate: Positive | None = None
    """Step size on x; by default the instance's own (0.008 in the paper), for Adam 0.01."""
    tolerance: Positive = 1e-6
    """`converged` means that the hyper-gradient's norm fell below this."""

    def validate(self) -> None:
        """Check the options, and the instance file if there is one."""
        super().validate()
        if self.instance is None:
            return
        for name in ("states", "actions", "dimension"):
            size = getattr(self, name)
            require(f"--{name}", size, size is None, "does not go with --instance")
        paper = self.variant == "paper"
        require("--variant", self.variant, paper, "must be paper with --instance")
        from sobirl.problems.random_mdp import RandomMDP

        RandomMDP.load(self.instance)

    def learned(self, saved: "SavedRun") -> dict[str, Any]:
        """The bilevel problem."""
        from sobirl.experiments.random_mdp.run import instance_of

        return {"problem": instance_of(self).problem()}

    def descent(self) -> "Descent":
        """From the instance's own first x."""
        from sobirl.experiments.random_mdp.run import descent

        return descent(self)

    def outcome(self, result: "Result") -> "Outcome":
        """The norms by step, beside those of the authors' code if they are known."""
        from sobirl.experiments.random_mdp.run import outcome

        return outcome(self, result)
