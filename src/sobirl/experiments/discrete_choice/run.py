"""`sobirl run discrete-choice`: an estimate, its table, and what it predicts."""

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sobirl.estimation.fitting import fit
from sobirl.estimation.resampling import Bootstrap
from sobirl.estimation.result import ChoiceResult
from sobirl.experiments.discrete_choice import figures
from sobirl.experiments.discrete_choice.options import DiscreteChoiceRun
from sobirl.runs.outcome import Outcome, summarize


def run(options: DiscreteChoiceRun) -> Outcome:
    """Estimate, and say what follows."""
    model, _, more = options.model
    result = fit(
        model,
        options.read,
        estimator=options.estimator,
        cov_type=options.cov_type,
        first_stage=options.first_stage,
        tolerance=options.tolerance,
        **more,
    )
    newton = result.found.newton
    metrics = result.to_dict()
    drawn = None
    if options.bootstrap:
        drawn = result.bootstrap(options.bootstrap, options.seed)
        metrics["bootstrap_standard_errors"] = drawn.standard_errors.tolist()
    metrics["transition_probabilities"] = [
        None if psi is None else psi.tolist()
        for psi in result.transition_probabilities
        if psi is None or psi.size <= 1000
    ]
    report: list[RenderableType] = [Text(result.summary(), no_wrap=True)]
    if drawn is not None:
        report.append(_bootstrapped(result, drawn))
    if not newton.converged:
        report.append(f"warning: {newton.message}")
    return Outcome(
        summary=summarize(
            problem=options.problem,
            method=options.estimator,
            objective=-result.log_likelihood,
            metrics=metrics,
            hypergradient_norm=newton.hypergradient_norm,
            steps=newton.steps,
            starts=1,
            converged=newton.converged,
            message=newton.message,
        ),
        history=newton.history,
        report=report,
        figures={
            "estimates": lambda: figures.estimates(result),
            "choices": lambda: figures.choices(result),
        },
        files={"table.tex": result.to_latex() + "\n", "summary.txt": result.summary() + "\n"},
        x=result.x,
    )


def _bootstrapped(result: ChoiceResult, drawn: Bootstrap) -> Table:
    table = Table(title=f"{int(drawn.converged.sum())} samples of units, both stages each")
    for column in ("parameter", "std error", "95 % interval"):
        table.add_column(column)
    ends = drawn.confidence_intervals()
    for name, error, (low, high) in zip(result.names, drawn.standard_errors, ends, strict=True):
        table.add_row(name, f"{error:.4f}", f"{low:.4g} to {high:.4g}")
    if not np.all(drawn.converged):
        table.caption = f"{int((~drawn.converged).sum())} more had no maximum"
    return table
