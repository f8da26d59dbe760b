"""`sobirl run deep-inverse-rl`: a reward network from demonstrations, and the policy it makes."""

import jax
import numpy as np
from rich.table import Table

from sobirl.bilevel.recorder import Recorder
from sobirl.experiments.deep_inverse_rl import figures
from sobirl.experiments.deep_inverse_rl.demonstrations import as_file
from sobirl.experiments.deep_inverse_rl.options import DeepInverseRLRun
from sobirl.experiments.deep_inverse_rl.rounds import Rounds, loop_of
from sobirl.experiments.learning_rounds import drive_rounds
from sobirl.runs.outcome import Outcome, summarize

# What the progress bar says: metric -> word and format.
_SHOWN = {
    "true_return": ("true return", ".4g"),
    "demonstrated": ("log π", ".3g"),
    "gap": ("gap", ".3g"),
}


def run(options: DeepInverseRLRun, recorder: Recorder | None = None) -> Outcome:
    """All rounds, and what the policy is worth."""
    # Networks are in single precision.
    with jax.enable_x64(False), loop_of(options) as loop:
        rounds = Rounds(options, loop)
        end = drive_rounds(rounds, _SHOWN, recorder, options.progress)
        metrics = rounds.returns(end.state)
        files = {}
        if options.demonstrations is None:
            files["demonstrations.npz"] = as_file(rounds.recovery.demonstrations, loop.spec)
        history = end.records
        last = max(len(history["gap"]) // 10, 1)
        for name in ("demonstrated", "gap"):
            metrics[name] = float(np.mean(history[name][-last:]))
        expert = metrics.get("expert_return")
        leaves, _ = jax.tree_util.tree_flatten(end.state.reward)
        return Outcome(
            summary=summarize(
                problem=options.problem,
                method="ml-irl",
                objective=-metrics["demonstrated"],
                metrics=metrics,
                hypergradient_norm=float(history["hypergradient_norm"][-1]),
                steps=rounds.total,
                starts=1,
                converged=False,
                resumes_exactly=loop.can_restore,
            ),
            history=history,
            report=[_table(options, metrics)],
            figures={"learning": lambda: figures.learning(options.env, history, expert)},
            files=files,
            x={f"leaf_{n}": np.asarray(leaf) for n, leaf in enumerate(leaves)},
        )


def _table(options: DeepInverseRLRun, metrics: dict[str, float]) -> Table:
    table = Table(title=f"{options.env}, ML-IRL, {options.steps} steps")
    table.add_column("")
    table.add_column("true return of an episode", justify="right")
    for name, label in (
        ("untrained_return", "before learning"),
        ("true_return", "the policy on the learned reward"),
        ("expert_return", "demonstrations"),
    ):
        if name in metrics:
            table.add_row(label, f"{metrics[name]:.1f}")
    table.caption = f"log π of a demonstrated step: {metrics['demonstrated']:.3f}"
    return table
