"""`sobirl run random-mdp`: the paper's synthetic problem, or a harder one, by any method."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import optax
from rich.table import Table

from sobirl.bilevel import Recorder, minimize
from sobirl.hypergrad import Exact, MSoBiRL
from sobirl.problems.random_mdp import RandomMDP, TargetPolicy
from sobirl.runs.figures import random_mdp as figures
from sobirl.runs.options import StepwiseOptions, require, require_count, require_positive
from sobirl.runs.outcome import Outcome, best_history, summarize_result, warnings


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomMDPRun(StepwiseOptions):
    """Random MDPs: the synthetic problem of Yang, Gao, Yuan (2025), or a harder variant.

    The paper's run: sobirl run random-mdp --method m-sobirl --num-steps 3000
    """

    problem = "random-mdp"

    instance: Path | None = None
    """An .npz that holds an instance of the paper's problem; otherwise one is drawn."""
    variant: Literal["paper", "target-policy"] = "paper"
    """What to draw: the paper's problem (optimum at x = 0), or an unattainable target policy."""
    states: int | None = None
    """Number of states S of a drawn instance: 10, for target-policy 100."""
    actions: int | None = None
    """Number of actions A of a drawn instance: 5."""
    dimension: int | None = None
    """Number of entries n of the leader's x in a drawn instance: 100."""
    method: Literal["exact", "m-sobirl", "m-sobirl-occupancy", "m-sobirl-normalized"] = "m-sobirl"
    """Exact hyper-gradients; the paper's single loop; that loop with the other adjoint step; that
    one with a normalized policy."""
    num_steps: int = 3000
    """Outer steps."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """Plain gradient descent as in the paper, or Adam."""
    step_size: float | None = None
    """Step size on x; by default the instance's own (0.008 in the paper), for Adam 0.01."""
    tolerance: float = 1e-6
    """`converged` means that the hyper-gradient's norm fell below this."""

    def validate(self) -> None:
        """Check the options, and the instance file if there is one."""
        super().validate()
        require_count("--num-steps", self.num_steps)
        require_positive("--tolerance", self.tolerance)
        if self.step_size is not None:
            require_positive("--step-size", self.step_size)
        sizes = {
            name: value
            for name in ("states", "actions", "dimension")
            if (value := getattr(self, name)) is not None
        }
        for name, value in sizes.items():
            require(f"--{name}", value, self.instance is None, "does not go with --instance")
            require_count(f"--{name}", value)
        require("--states", self.states, self.states != 1, "must be at least 2")
        if self.instance is not None:
            paper = self.variant == "paper"
            require("--variant", self.variant, paper, "must be paper with --instance")
            RandomMDP.load(self.instance)

    def run(self, recorder: Recorder | None = None) -> Outcome:
        """Minimize from the instance's own first x."""
        instance = self._instance()
        result = minimize(
            instance.problem(),
            instance.x0,
            method=self._method(instance),
            optimizer=self._optimizer(instance),
            num_steps=self.num_steps,
            key=self.seed,
            tolerance=self.tolerance,
            progress=self.progress,
            recorder=recorder,
        )
        norms, objectives = result.history["hypergradient_norm"], result.history["objective"]
        metrics = {"final_objective": result.final_objective, "best_objective": result.objective}
        reference = getattr(instance, "hypergrad_norm", None)
        if reference is not None:
            compared = min(len(reference), len(norms))
            reference = reference[:compared]
            metrics["reference_difference"] = _relative_difference(norms[:compared], reference)
        table = Table(title=f"random-mdp ({self.variant}), {self.method}, {self.optimizer}")
        table.add_column("step", justify="right")
        table.add_column("‖∇φ(x)‖", justify="right")
        table.add_column("objective after the step", justify="right")
        if reference is not None:
            table.add_column("‖∇φ(x)‖, authors' code", justify="right")
        for step in _milestones(len(norms)):
            row = [str(step), f"{norms[step - 1]:.6g}", f"{objectives[step - 1]:.8g}"]
            if reference is not None:
                row.append(f"{reference[step - 1]:.6g}" if step <= len(reference) else "")
            table.add_row(*row)
        return Outcome(
            summary=summarize_result(
                result,
                result.status,
                objective=result.final_objective,
                problem=self.problem,
                method=self.method,
                metrics=metrics,
            ),
            history=best_history(result),
            report=[table, *warnings(result.status)],
            figures={"convergence": lambda: figures.convergence(norms, objectives, reference)},
        )

    def _instance(self) -> RandomMDP | TargetPolicy:
        if self.instance is not None:
            return RandomMDP.load(self.instance)
        paper = self.variant == "paper"
        return (RandomMDP if paper else TargetPolicy).generate(
            self.states or (10 if paper else 100),
            self.actions or 5,
            self.dimension or 100,
            self.seed,
        )

    def _method(self, instance) -> Exact | MSoBiRL:
        if self.method == "exact":
            return Exact()
        constants = {}
        if isinstance(instance, RandomMDP):
            constants = {
                "adjoint_step_size": instance.zeta,
                "sweeps": instance.n_inner,
                "initial_adjoint": instance.w0,
            }
        if self.method == "m-sobirl":
            return MSoBiRL(**constants)
        return MSoBiRL("occupancy", normalize=self.method == "m-sobirl-normalized", **constants)

    def _optimizer(self, instance) -> optax.GradientTransformation:
        if self.optimizer == "adam":
            return optax.adam(1e-2 if self.step_size is None else self.step_size)
        own = getattr(instance, "beta", 1e-2)
        return optax.sgd(own if self.step_size is None else self.step_size)


def _relative_difference(norms: np.ndarray, reference: np.ndarray) -> float:
    """The largest relative difference where the reference is above 1e-6."""
    compared = reference > 1e-6
    return float(np.max(np.abs(norms / reference - 1)[compared], initial=0.0))


def _milestones(steps: int) -> list[int]:
    """1, 3, 10, 30, ... and the last step."""
    powers = [factor * 10**power for power in range(9) for factor in (1, 3)]
    return [*(step for step in powers if step < steps), steps]
