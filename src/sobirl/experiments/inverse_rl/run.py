"""`sobirl run inverse-rl`: a reward, how well it is identified, and what it predicts."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from rich.table import Table

from sobirl.estimation.inverse_rl import MaximumLikelihoodIRL
from sobirl.estimation.irl_result import IRLResult
from sobirl.experiments.inverse_rl import figures
from sobirl.experiments.inverse_rl.options import InverseRLRun
from sobirl.problems.inverse_rl import Recovery, World, recovery
from sobirl.runs.files import csv_text
from sobirl.runs.outcome import Outcome, summarize

SHAPING = (
    "note: rewards that differ by a potential, r + γ E h(s') - h(s), have the same policy; no "
    "demonstrations tell them apart"
)


def run(options: InverseRLRun) -> Outcome:
    """Learn the reward, and say how far it can be trusted."""
    world, kind = options.place, options.kind
    arguments = _reward_of(kind, world, options.widths, options.seed)
    model = MaximumLikelihoodIRL(
        world.mdp, objective=options.objective, regularization=options.penalties, **arguments
    )
    result = model.fit(
        options.read, held_out=options.held_out, seed=options.seed, tolerance=options.tolerance
    )
    # A file's demonstrators are not those whose reward a world knows.
    true = options.demonstrations is None and world.weights is not None
    found = recovery(world, result.reward, result.response) if true else None
    metrics = _metrics(kind, world, result, found)
    notes = [SHAPING] if kind != "features" else []
    if result.identification is not None and kind == "features":
        notes.append(f"identification: {result.identification}")
    if not result.end.converged:
        notes.append(f"warning: {result.end.message}")
    drawn: dict[str, Callable] = {}
    if found is not None:
        drawn["reward"] = lambda: figures.reward(world, result.reward, found)
    elif kind == "features":
        drawn["weights"] = lambda: figures.weights(world, result)
    files = {"reward.csv": _reward_csv(result)}
    if options.demonstrations is None:
        columns = options.read.columns()
        rows = zip(*columns.values(), strict=True)
        files["demonstrations.csv"] = csv_text(tuple(columns), rows)
    return Outcome(
        summary=summarize(
            problem=options.problem,
            method=options.objective,
            objective=result.end.objective,
            metrics=metrics,
            hypergradient_norm=result.end.gradient_norm,
            steps=result.end.steps,
            starts=1,
            converged=result.end.converged,
            message=result.end.message,
        ),
        history=result.end.history,
        report=[_table(options, result, metrics), *notes],
        figures=drawn,
        files=files,
        x={"reward": result.reward, "x": eqx.filter(result.x, eqx.is_array)},
    )


def _reward_of(kind: str, world: World, widths: tuple[int, ...], seed: int) -> dict[str, Any]:
    """Arguments of `MaximumLikelihoodIRL`."""
    states, actions = world.mdp.shape
    if kind == "features":
        return {"features": world.features}
    if kind in ("states", "table"):
        shape = (states,) if kind == "states" else (states, actions)
        return {"reward": lambda x: x, "x0": np.zeros(shape)}
    inputs = jnp.asarray(world.inputs)
    sizes = (inputs.shape[1], *widths, 1)
    keys = jax.random.split(jax.random.key(seed), len(sizes) - 1)
    layers = [
        eqx.nn.Linear(a, b, key=key) for a, b, key in zip(sizes, sizes[1:], keys, strict=False)
    ]

    def reward(layers: PyTree):
        found = inputs
        for layer in layers[:-1]:
            found = jnp.tanh(jax.vmap(layer)(found))
        return jax.vmap(layers[-1])(found)[:, 0]

    return {"reward": reward, "x0": layers}


def _metrics(kind: str, world: World, result: IRLResult, found: Recovery | None) -> dict[str, Any]:
    metrics: dict[str, Any] = {
        "log_likelihood": result.log_likelihood,
        "held_out_log_likelihood": result.held_out_log_likelihood,
        "regularization": result.regularization,
        "decisions": len(result.demonstrations),
    }
    if kind == "features":
        metrics["weights"] = dict(zip(world.names, np.asarray(result.x).tolist(), strict=True))
        if result.standard_errors is not None:
            errors = result.standard_errors.tolist()
            metrics["standard_errors"] = dict(zip(world.names, errors, strict=True))
        if result.model.objective == "causal-entropy":
            expected, seen = result.feature_counts()
            metrics |= {"expected_counts": expected.tolist(), "demonstrated_counts": seen.tolist()}
    if found is not None:
        names = "kl", "correlation", "explained", "explained_where_visited"
        metrics |= {name: getattr(found, name) for name in names}
    return metrics


def _table(options: InverseRLRun, result: IRLResult, metrics: dict[str, Any]) -> Table:
    where = options.world if options.mdp is None else options.mdp.name
    table = Table(title=f"{where}: reward of {options.kind}, {options.objective}")
    table.add_column("")
    table.add_column("", justify="right")
    if "weights" in metrics:
        errors = metrics.get("standard_errors", {})
        truth = options.place.weights if options.demonstrations is None else None
        for place, (name, value) in enumerate(metrics["weights"].items()):
            text = f"{value:.4f}"
            text += f" ({errors[name]:.4f})" if name in errors else ""
            text += f", true {truth[place]:g}" if truth is not None else ""
            table.add_row(f"weight of {name}", text)
        table.add_section()
    table.add_row("log-likelihood of a decision", f"{result.log_likelihood:.5f}")
    if result.held_out_log_likelihood is not None:
        table.add_row("the same, held-out episodes", f"{result.held_out_log_likelihood:.5f}")
    if len(options.penalties) > 1:
        table.add_row("regularization, chosen by that", f"{result.regularization:g}")
    if "kl" in metrics:
        table.add_section()
        table.add_row("KL of the policy from the true one, a step", f"{metrics['kl']:.2g}")
        table.add_row("share of the true reward's variance,", "")
        table.add_row("  after the best shaping", f"{metrics['explained']:.4f}")
        table.add_row("  the same, where they go", f"{metrics['explained_where_visited']:.4f}")
    return table


def _reward_csv(result: IRLResult) -> str:
    states, actions = result.reward.shape
    rows = (
        (s, a, result.reward[s, a], result.policy[s, a])
        for s in range(states)
        for a in range(actions)
    )
    return csv_text(("state", "action", "reward", "policy"), rows)
