"""`sobirl run stackelberg`: the commitment that is found, beside the published one."""

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from sobirl.bilevel import Recorder
from sobirl.experiments.evaluation import evaluate
from sobirl.experiments.stackelberg import StackelbergRun, figures
from sobirl.problems.games import Game
from sobirl.problems.stackelberg import Stackelberg
from sobirl.runs.curves import draw_history
from sobirl.runs.files import csv_text
from sobirl.runs.outcome import Outcome, best_history, summarize_result, warnings

_LINE, _SIDE = 201, 41  # commitments that are drawn, of two actions and of three (a side)


def run(options: StackelbergRun, recorder: Recorder | None = None) -> Outcome:
    """Commit, and compare with what is published of the game."""
    instance = options.instance
    game, problem, x0 = instance.played, instance.problem(), instance.x0()
    result = options.minimize(problem, x0, recorder)
    x = jnp.asarray(result.x if options.method == "exact" else result.final_x)
    found = evaluate(problem, jnp.stack([x0, x]))
    first, last = (-found.objective).tolist()
    shares = np.asarray(jax.nn.softmax(x))
    status = max(result.status, found.status)
    history = best_history(result)
    return Outcome(
        summary=summarize_result(
            result,
            status,
            objective=-last,
            problem=options.problem,
            method=options.method,
            metrics={
                "leader_payoff": last,
                "leader_payoff_at_first": first,
                "published_optimum": game.optimum,
                "without_commitment": game.without_commitment,
                "commitment": dict(zip(game.actions, shares.tolist(), strict=True)),
            },
        ),
        history=history,
        report=[_table(options, game, shares, first, last), *warnings(result, status)],
        figures={
            "commitment": lambda: figures.commitment(
                game, *payoffs(instance), shares, last, found.policy[-1]
            ),
            "convergence": lambda: draw_history(options.curves, options.method, history),
        },
        files={
            "commitment.csv": csv_text(
                ("action", "share"), zip(game.actions, shares.tolist(), strict=True)
            )
        },
        x=x,
        result=result,
    )


def payoffs(instance: Stackelberg) -> tuple[np.ndarray, np.ndarray]:
    """Commitments (N,A) over the whole simplex, and what each pays the leader (N,)."""
    if len(instance.played.actions) == 2:
        share = np.linspace(0, 1, _LINE)
        shares = np.stack([share, 1 - share], axis=-1)
    else:
        steps = np.stack(np.meshgrid(*[np.arange(_SIDE)] * 2, indexing="ij"), -1).reshape(-1, 2)
        steps = steps[steps.sum(-1) < _SIDE] / (_SIDE - 1)
        shares = np.concatenate([steps, 1 - steps.sum(-1, keepdims=True)], axis=-1)
    logits = jnp.log(jnp.asarray(np.maximum(shares, 1e-12)))
    return shares, -evaluate(instance.problem(), logits).objective


def _table(options: StackelbergRun, game: Game, shares, first: float, last: float) -> Table:
    title = f"Stackelberg, {options.game}, {options.method}"
    table = Table(title=title, caption=game.source or None)
    table.add_column("commitment")
    table.add_column("leader's payoff", justify="right")
    if game.without_commitment is not None:
        table.add_row("none (published)", f"{game.without_commitment:g}")
    table.add_row("at first", f"{first:.4f}")
    mix = ", ".join(f"{name} {s:.3f}" for name, s in zip(game.actions, shares, strict=True))
    table.add_row(mix, f"[bold]{round(last, 4) + 0.0:.4f}[/bold]")  # no minus before 0
    if game.optimum is not None:
        table.add_row("best (published)", f"{game.optimum:.4f}")
    return table
