"""`sobirl run random-mdp`: the paper's synthetic problem, or a harder one, by any method."""

import numpy as np
import optax
from rich.table import Table

from sobirl.bilevel import Result
from sobirl.bilevel.batch import Descent
from sobirl.core.protocols import Method
from sobirl.experiments.evaluation import evaluate
from sobirl.experiments.random_mdp import figures
from sobirl.experiments.random_mdp.options import RandomMDPRun
from sobirl.hypergrad.methods import entry
from sobirl.problems.random_mdp import RandomMDP, TargetPolicy
from sobirl.runs.outcome import Outcome, best_history, summarize_result, warnings


def descent(options: RandomMDPRun) -> Descent:
    """From the instance's own first x."""
    instance = instance_of(options)
    adam = options.optimizer == "adam"
    own = 1e-2 if adam else getattr(instance, "learning_rate", 1e-2)
    return Descent(
        problem=instance.problem(),
        x0=instance.x0,
        method=_method(options, instance),
        optimizer=optax.adam if adam else optax.sgd,
        learning_rate=own if options.learning_rate is None else options.learning_rate,
        num_steps=options.num_steps,
        key=options.seed,
        tolerance=options.tolerance,
    )


def outcome(options: RandomMDPRun, result: Result) -> Outcome:
    """The norms by step, beside those of the authors' code if they are known."""
    instance = instance_of(options)
    norms, objectives = result.history["hypergradient_norm"], result.history["objective"]
    # A single loop's own objective is that of a policy which lags behind.
    points = np.stack([instance.x0, result.final_x])
    first, last = evaluate(instance.problem(), points).objective.tolist()
    metrics = {
        "final_objective": result.final_objective,
        "best_objective": result.objective,
        "exact_objective": last,
        "exact_objective_at_first": first,
    }
    reference = getattr(instance, "hypergrad_norm", None)
    if reference is not None:
        compared = min(len(reference), len(norms))
        reference = reference[:compared]
        metrics["reference_difference"] = _relative_difference(norms[:compared], reference)
    table = Table(title=f"random-mdp ({options.variant}), {options.method}, {options.optimizer}")
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
            problem=options.problem,
            method=options.method,
            metrics=metrics,
        ),
        history=best_history(result),
        report=[table, *warnings(result)],
        figures={"convergence": lambda: figures.convergence(norms, objectives, reference)},
        x=result.x,
    )


def instance_of(options: RandomMDPRun) -> RandomMDP | TargetPolicy:
    """What is minimized."""
    if options.instance is not None:
        return RandomMDP.load(options.instance)
    paper = options.variant == "paper"
    return (RandomMDP if paper else TargetPolicy).generate(
        options.states or (10 if paper else 100),
        options.actions or 5,
        options.dimension or 100,
        options.seed,
    )


def _method(options: RandomMDPRun, instance) -> Method:
    chosen = entry(options.method)
    if not (chosen.class_name == "MSoBiRL" and isinstance(instance, RandomMDP)):
        return chosen.make()
    # The constants of the single loop are the instance's own.
    return chosen.make(
        adjoint_step_size=instance.adjoint_step_size,
        sweeps=instance.sweeps,
        initial_adjoint=instance.w0,
    )


def _relative_difference(norms: np.ndarray, reference: np.ndarray) -> float:
    """The largest relative difference where the reference is above 1e-6."""
    compared = reference > 1e-6
    return float(np.max(np.abs(norms / reference - 1)[compared], initial=0.0))


def _milestones(steps: int) -> list[int]:
    """1, 3, 10, 30, ... and the last step."""
    powers = [factor * 10**power for power in range(9) for factor in (1, 3)]
    return [*(step for step in powers if step < steps), steps]
