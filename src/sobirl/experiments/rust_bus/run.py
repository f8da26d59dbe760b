"""`sobirl run rust-bus`: maximum likelihood on Rust's data, yours, or a simulated panel."""

import numpy as np
from rich.table import Table

from sobirl.experiments.rust_bus import figures
from sobirl.experiments.rust_bus.options import RustBusRun
from sobirl.problems import rust_bus
from sobirl.problems.rust_bus import COSTS, GROUP4_PROBABILITIES
from sobirl.problems.rust_estimation import Estimate, estimate
from sobirl.runs.outcome import Outcome, summarize

# Rust (1987), table IX, group 4, β = 0.9999; -log L of the decisions alone.
PUBLISHED = {"replacement_cost": 10.0750, "theta": (2.2930,), "neg_log_likelihood": 163.584}

_SUBSCRIPTS = "₀₁₂₃"
_NORMAL_95 = 1.959964


def run(options: RustBusRun) -> Outcome:
    """Estimate the costs, and set them beside what is known about them."""
    panel = options.panel
    found = estimate(
        panel,
        options.cost,
        discount=options.discount,
        tolerance=options.tolerance,
        seed=options.seed,
    )
    result = found.result
    truth = np.array([options.truth[0], *options.truth[1]]) if options.simulate else None
    metrics = {
        "neg_log_likelihood": result.objective,
        "replacement_cost": float(found.values[0]),
        "theta": found.values[1:].tolist(),
        "standard_errors": found.standard_errors.tolist(),
        "cost_coefficients": (found.values[1:] * COSTS[options.cost].scales).tolist(),
    }
    if truth is not None:
        metrics |= {
            "true_replacement_cost": float(truth[0]),
            "true_theta": truth[1:].tolist(),
            "z_scores": ((found.values - truth) / found.standard_errors).tolist(),
        }
    return Outcome(
        summary=summarize(
            problem=options.problem,
            method="newton",
            objective=result.objective,
            metrics=metrics,
            hypergradient_norm=result.hypergradient_norm,
            steps=result.steps,
            starts=len(found.start_objectives),
            converged=result.converged,
            message=result.message,
            start_objectives=found.start_objectives.tolist(),
            observations=int(panel.decision_counts.sum()),
            transition_probabilities=panel.transition_probabilities.tolist(),
        ),
        history=result.history,
        report=[_parameters(options, found, truth), _facts(options, found), *_warnings(found)],
        figures={
            "likelihood": lambda: figures.likelihood(found, truth),
            "replacement": lambda: figures.replacement(found, truth),
        },
        x=result.x,
        files={"data.csv": rust_bus.to_csv(panel)} if options.simulate else {},
    )


def _is_published(options: RustBusRun, found: Estimate) -> bool:
    """Whether Rust's own estimate is for this panel, cost and discount."""
    own = rust_bus.group4()
    return (
        options.cost == "linear"
        and options.discount == rust_bus.DISCOUNT
        and np.array_equal(found.panel.decision_counts, own.decision_counts)
        and np.array_equal(found.panel.usage_counts, own.usage_counts)
    )


def _parameters(options: RustBusRun, found: Estimate, truth: np.ndarray | None) -> Table:
    table = Table(title=f"Bus engines, {options.cost} cost\nc(s) = {COSTS[options.cost].formula}")
    table.add_column("parameter")
    for column in ("estimate", "std error", "95 % interval"):
        table.add_column(column, justify="right")
    published = not options.simulate and _is_published(options, found)
    for column in ("true value", "z-score") if options.simulate else ("published",) * published:
        table.add_column(column, justify="right")

    known = np.array([PUBLISHED["replacement_cost"], *PUBLISHED["theta"]])
    for i, (value, error) in enumerate(zip(found.values, found.standard_errors, strict=True)):
        margin = _NORMAL_95 * error
        row = ["RC" if i == 0 else f"θ{_SUBSCRIPTS[i]}", f"{value:.5f}"]
        if np.isfinite(error):
            row += [f"{error:.5f}", f"{value - margin:.4g} to {value + margin:.4g}"]
        else:
            row += ["none", "none"]
        if truth is not None:
            row += [f"{truth[i]:.7g}", f"{(value - truth[i]) / error:+.2f}"]
        elif published:
            row += [f"{known[i]:.4f}"]
        table.add_row(*row)
    row = ["−log L", f"{found.result.objective:.5f}", "", ""]
    row += ["", ""] if options.simulate else [f"{PUBLISHED['neg_log_likelihood']:.3f}"] * published
    table.add_section()
    table.add_row(*row)
    return table


def _facts(options: RustBusRun, found: Estimate) -> str:
    """What the estimate rests on, in four lines."""
    panel, result = found.panel, found.result
    keeps, replacements = panel.decision_counts.sum(axis=0)
    used = ", ".join(f"{p:.4f}" for p in panel.transition_probabilities)
    text = (
        f"{keeps + replacements:.0f} observations, {replacements:.0f} of them replacements\n"
        f"transition probabilities {used}"
    )
    if options.simulate:
        text += f" (true: {', '.join(f'{p:.4f}' for p in GROUP4_PROBABILITIES)})"
    agree = np.sum(np.abs(found.start_objectives - result.objective) < 1e-6)
    return (
        f"{text}\nstandard errors: inverse Hessian, transitions taken as known; for others: "
        "sobirl run discrete-choice\n"
        f"{agree} of {len(found.start_objectives)} starts ended at this optimum; "
        f"gradient norm {result.hypergradient_norm:.1e} after {result.steps} steps"
    )


def _warnings(found: Estimate) -> list[str]:
    result = found.result
    warnings = []
    if not (result.converged and result.positive_definite):
        warnings.append(f"warning: {result.message}")
    if result.objective < 1e-3:
        warnings.append(
            "warning: the costs predict every decision for certain; the likelihood has no "
            "maximum then, and rises on as RC and θ grow"
        )
    return warnings
