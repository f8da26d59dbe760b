"""The end of `sobirl run markov-game`: returns over the game's steps, beside the published ones."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from sobirl.bilevel import Result
from sobirl.experiments.markov_game import MarkovGameRun, figures
from sobirl.problems.markov_game import PUBLISHED, DiscreteToy, RegulatorGame
from sobirl.runs.outcome import Outcome
from sobirl.solvers import solve


def outcome(options: MarkovGameRun, found: Outcome, result: Result) -> Outcome:
    """Add what the policy means to what every descent reports."""
    game, x = options.played, jnp.asarray(found.x)
    moments = {"before": game.x0(), "after": x}
    returns = {moment: [float(v) for v in game.returns(at)] for moment, at in moments.items()}
    metrics = {
        "leader_return": returns["after"][0],
        "leader_return_undiscounted": returns["after"][1],
        "leader_return_at_first": returns["before"][0],
        "leader_return_undiscounted_at_first": returns["before"][1],
        "policy": np.asarray(x if options.game == "lqr" else jax.nn.softmax(x, -1)).tolist(),
        "published": PUBLISHED[options.game],
    }

    def picture():
        if isinstance(game, RegulatorGame):
            return figures.courses({at: _course(game, moments[at]) for at in moments})
        assert isinstance(game, DiscreteToy)
        return figures.policies({at: _policies(game, moments[at]) for at in moments})

    told = {**found.summary["metrics"], **metrics}
    return dataclasses.replace(
        found,
        summary={**found.summary, "metrics": told},
        report=[_table(options, returns), *found.report[1:]],
        figures={"game": picture, **found.figures},
    )


def _policies(game: DiscreteToy, x) -> figures.Policies:
    """Of the leader (3,2), and of the follower (3,2,3)."""
    follower = np.asarray(solve(game.tables.follower(x)).policy)[1:].reshape(3, 2, 3)
    return figures.Policies(np.asarray(jax.nn.softmax(x, axis=-1)), follower)


def _course(game: RegulatorGame, x) -> figures.Course:
    response = solve(game.regulator.follower(x))
    mean, spread = game.regulator.course(x, response)
    deviation = jnp.sqrt(jnp.diagonal(spread, axis1=-2, axis2=-1))
    rewards = game.regulator.rewards(x, response)
    return figures.Course(*map(np.asarray, (mean, deviation, rewards)))


def _table(options: MarkovGameRun, returns) -> Table:
    table = Table(title=f"Markov game {options.game}, {options.method}")
    table.add_column("leader's return")
    for column in ("discounted", "undiscounted"):
        table.add_column(column, justify="right")
    table.add_row("first policy", *(f"{value:.4g}" for value in returns["before"]))
    last = (f"[bold]{value:.4f}[/bold]" for value in returns["after"])
    table.add_row(f"after {options.num_steps} steps", *last, end_section=True)
    for name, value in PUBLISHED[options.game].items():
        columns = (f"{value:g}", "") if options.game == "r1" else ("", f"{value:g}")
        table.add_row(f"published: {name}", *columns)
    return table
