"""`sobirl run incentives`: incentives for a follower that learns, in any environment."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from sobirl.bilevel.driver import Drive
from sobirl.bilevel.recorder import Recorder
from sobirl.deep.envs import Continuous, Discrete
from sobirl.experiments.incentives import figures
from sobirl.experiments.incentives.clips import clips
from sobirl.experiments.incentives.design import bound_of, left_out
from sobirl.experiments.incentives.options import IncentivesRun
from sobirl.experiments.incentives.rounds import Rounds, RoundState
from sobirl.experiments.incentives.settings import Settings
from sobirl.experiments.learning_rounds import drive_rounds
from sobirl.experiments.rlhf.reward_map import FEWEST, map_of
from sobirl.runs.outcome import Outcome, summarize

if TYPE_CHECKING:
    from matplotlib.figure import Figure

History = dict[str, np.ndarray]

# What the progress bar says: metric -> word and format.
_SHOWN = {
    "leader_return": ("leader", ".4g"),
    "follower_return": ("follower", ".4g"),
    "spent": ("spent", ".2g"),
    "agreement": ("agreement", ".2f"),
}
_DOTS = 2000  # steps that a figure shows
_ACTIONS = {"the least action": -1.0, "the middle one": 0.0, "the greatest": 1.0}


def run(options: IncentivesRun, recorder: Recorder | None = None) -> Outcome:
    """All rounds, and what is drawn of them."""
    # Networks are in single precision.
    with jax.enable_x64(False), Rounds.open(options) as rounds:
        end = learn(rounds, recorder, options.progress)
        files, notes = _clips(options, rounds, end.state)
        return _outcome(options, rounds, end, files, notes)


def learn(
    rounds: Rounds, recorder: Recorder | None = None, progress: bool | None = None
) -> Drive[RoundState]:
    """All rounds; see `drive_rounds`."""
    return drive_rounds(rounds, _SHOWN, recorder, progress)


def of_best(end: Drive[RoundState]) -> History:
    """The rows of the start that was best."""
    rows = end.records
    if "start" not in rows:
        return rows
    own = rows["start"] == end.state.best
    return {name: column[own] for name, column in rows.items()}


def _clips(
    options: IncentivesRun, rounds: Rounds, state: RoundState
) -> tuple[dict[str, bytes], list[str]]:
    """The clips by file name, or why there are none."""
    if not options.clips:
        return {}, []
    learned = {"before": state.before, "after": rounds.learned(state.design)}
    learned = jax.tree.map(jnp.asarray, learned)
    try:
        return clips(options, rounds, learned, options.clips, options.clip_steps), []
    except Exception as error:  # drivers fail in many ways; hours of learning must not be lost
        return {}, [f"note: there is no clip: {error}"]


def _figures(
    options: IncentivesRun, rounds: Rounds, end: Drive[RoundState]
) -> "dict[str, Callable[[], Figure]]":
    """What draws the figures, by name."""
    title = f"{options.env}, {options.method}"
    first = rounds.design.warm_up
    drawn = {"learning": lambda: figures.learning(title, of_best(end), first)}
    if not options.figures:
        return drawn
    spec, pays = rounds.design.loop.spec, rounds.pays(end.state)
    follower, learned = rounds.design.follower, rounds.learned(end.state.design)
    made = rounds.design.loop.trajectories(follower, learned, rounds.last_key, rounds.design.steps)
    live = np.asarray(made.mask)
    seen, own = (np.asarray(leaf)[live][:_DOTS] for leaf in (made.observation, made.reward))
    if spec.numbered and isinstance(spec.actions, Discrete):
        count = spec.stacked_shape[0]
        each = jnp.eye(count, dtype=jnp.float32)
        incentives = np.stack(
            [pays(each, jnp.full(count, a, jnp.int32)) for a in range(spec.actions.num)], axis=1
        )
        shares = seen.mean(axis=0)
        drawn["incentives"] = lambda: figures.table(title, incentives, shares)
        return drawn
    if len(spec.stacked_shape) == 1 and spec.stacked_shape[0] >= FEWEST:

        def mode(observation):
            return follower.mode(learned, observation)

        single = isinstance(spec.actions, Continuous) and spec.actions.size["action_size"] == 1
        actions = _ACTIONS if single else None
        found = map_of(spec, pays, mode, seen, own, options.features, actions)
        drawn["incentives"] = lambda: figures.over_features(title, found)
    return drawn


def _outcome(
    options: IncentivesRun,
    rounds: Rounds,
    end: Drive[RoundState],
    files: dict[str, bytes],
    notes: list[str],
) -> Outcome:
    history = of_best(end)
    first = min(max(rounds.design.warm_up, 1), len(history["spent"]))
    names = "leader_return", "follower_return", "spent", "spent_in_episode", "episode_length"
    metrics: dict[str, Any] = {name: _at_the_end(history[name]) for name in names}
    for name in names[:2]:
        metrics[f"{name}_before"] = _at_the_end(history[name][:first])
    metrics["agreement"] = _at_the_end(history["agreement"])
    metrics["steps_per_second"] = float(history["environment_steps"][-1] / end.seconds)
    loop = rounds.design.loop
    restored = [] if loop.can_restore else [_NOT_EXACT.format(name=loop.spec.name)]
    return Outcome(
        summary=summarize(
            problem=options.problem,
            method=options.method,
            objective=-metrics["leader_return"],
            metrics=metrics,
            hypergradient_norm=float(history["hypergradient_norm"][-1]),
            steps=rounds.total,
            starts=1,
            converged=False,
            resumes_exactly=loop.can_restore,
        ),
        history=end.records,
        report=[
            _table(options, metrics),
            *warnings(options, rounds, end, bound_of(options)),
            *restored,
            *notes,
        ],
        figures=_figures(options, rounds, end),
        files=files,
        x={"x": end.state.design.x, "scale": end.state.design.scale},
    )


def _table(options: IncentivesRun, metrics: dict) -> Table:
    table = Table(title=f"{options.env}, {options.method}, {options.steps} steps")
    table.add_column("")
    table.add_column("without", justify="right")
    table.add_column("with incentives", justify="right")
    for name, label in (
        ("leader_return", "leader's return (discounted)"),
        ("follower_return", "follower's return, without incentives"),
    ):
        table.add_row(
            label, f"{metrics[f'{name}_before']:.4g}", f"[bold]{metrics[name]:.4g}[/bold]"
        )
    table.add_row("mean size of an incentive", "", f"{metrics['spent']:.3g}")
    table.add_row("paid and charged in an episode", "", f"{metrics['spent_in_episode']:.3g}")
    return table


def warnings(
    settings: Settings, rounds: Rounds, end: Drive[RoundState], bound: float | None
) -> list[str]:
    """What to say of incentives that reach their bound, and of gradients that lack something."""
    said = []
    history = of_best(end)
    spent = _at_the_end(history["spent"])
    if bound is not None and spent > 0.9 * bound:
        said.append(
            f"warning: the incentives are at their bound {bound:g} nearly everywhere; give a "
            "larger --bound, or a --budget or --price if they should cost something"
        )
    if (lacking := left_out(rounds.design.loop)) is not None:
        said.append(lacking)
    agreement = float(np.mean(history["agreement"]))
    if agreement < 0.05:
        said.append(
            "note: two halves of the episodes hardly agree on where to go; more --episodes or a "
            "higher --temperature make estimates better"
        )
    return said


_NOT_EXACT = (
    "note: the state of {name} cannot be saved; a resumed run keeps what was learned and begins "
    "new episodes"
)


def _window(rounds: int) -> int:
    return max(rounds // 10, 1)


def _at_the_end(values: np.ndarray) -> float:
    """The mean over the last tenth of the rounds."""
    return float(np.mean(values[-_window(len(values)) :]))
