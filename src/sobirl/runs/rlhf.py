"""`sobirl run rlhf`: a reward from preferences, and a policy from the reward."""

import dataclasses
import importlib
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import numpy as np
from rich.table import Table

from sobirl.bilevel.interrupts import deferred_interrupt
from sobirl.core.errors import InvalidInputError
from sobirl.runs.checkpoint import Checkpoint
from sobirl.runs.figures import rlhf as figures
from sobirl.runs.journal import RoundJournal
from sobirl.runs.options import StepwiseOptions, require
from sobirl.runs.outcome import Outcome, summarize
from sobirl.runs.rlhf_progress import progress_bar
from sobirl.runs.rlhf_settings import Settings

if TYPE_CHECKING:
    from sobirl.runs.rlhf_rounds import Rounds, RoundState

History = dict[str, np.ndarray]

_POSITIVE = (
    "learning_rate",
    "target_rate",
    "updates_per_step",
    "initial_temperature",
    "adam_eps",
    "reward_learning_rate",
    "reward_bound",
    "largest_weight",
)
_POSITIVE_OR_INF = ("reward_clip", "implicit_ratio")
_NOT_NEGATIVE = (
    "random_steps",
    "implicit_from",
    "initial_pairs",
    "pretrain_steps",
    "reward_weight_decay",
    "clips",
)
_COUNTS = (
    "steps",
    "seeds",
    "pairs",
    "schedule_rounds",
    "fragment_length",
    "queue",
    "candidates",
    "members",
    "reward_batch",
    "epochs",
    "first_epochs",
    "implicit_actions",
    "pretrain_neighbors",
    "num_envs",
    "round_steps",
    "batch",
    "replay",
    "decay_steps",
    "target_period",
    "eval_every",
    "eval_episodes",
    "eval_steps",
    "clip_steps",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RLHFRun(StepwiseOptions, Settings):
    """Learn a reward from preferences between fragments, while a follower learns on it.

    sobirl run rlhf --env CartPole-v1 --method sobirl --pairs 300 --steps 300000

    A simulated teacher who knows the environment's reward compares the fragments. Where an option
    is None, a preset for the kind of environment decides; summary.json has what was chosen.
    """

    problem = "rlhf"
    journal = RoundJournal

    checkpoint_seconds: float = 60.0
    """The least time between two checkpoints, each of which holds the whole replay."""

    def validate(self) -> None:
        """Check the options."""
        super().validate()
        for name in _COUNTS:
            self._check(name, lambda n: n >= 1, "must be at least 1")
        for name in _POSITIVE:
            self._check(name, lambda x: 0 < x < math.inf, "must be a positive number")
        for name in _POSITIVE_OR_INF:
            self._check(name, lambda x: x > 0, "must be a positive number")
        for name in _NOT_NEGATIVE:
            self._check(name, lambda n: n >= 0, "must not be negative")
        if self.temperature != "auto":
            self._check("temperature", lambda x: 0 < x < math.inf, "must be a positive number")
        if self.horizon != "full":
            self._check("horizon", lambda n: n >= 0, 'must be a number or "full"')
        self._check("discount", lambda x: 0 <= x < 1, "must be in [0, 1)")
        self._check("widths", lambda widths: min(widths, default=0) >= 1, "must be at least 1 each")
        if self.target_entropy is not None and self.temperature not in (None, "auto"):
            require("--temperature", self.temperature, False, "must be auto with --target-entropy")

    def _check(self, name: str, holds: Callable, requirement: str) -> None:
        value = getattr(self, name)
        require(f"--{name.replace('_', '-')}", value, value is None or holds(value), requirement)

    def run(self, recorder: Checkpoint | None = None) -> Outcome:
        """Learn with every seed, one after another."""
        # Networks are in single precision.
        with jax.enable_x64(False), _rounds().open(self, self.seed) as rounds:
            state, history, seconds = self._learn(rounds, recorder)
            files, notes = self._clips(rounds, state)
            outcome = self._outcome(rounds, history, seconds)
        return dataclasses.replace(outcome, files=files, report=[*outcome.report, *notes])

    def _learn(
        self, rounds: "Rounds", recorder: Checkpoint | None
    ) -> tuple["RoundState", History, float]:
        """The last state, the rows of all rounds, and the seconds that they took.

        Raises:
            KeyboardInterrupt: Ctrl-C; what was done is kept.
        """
        state, rows, before = rounds.begin(), [], 0.0
        saved = None if recorder is None else recorder.restore(state)
        if saved is not None:
            state, history, before = saved
            state = rounds.restore(state)
            rows = [history]
        clock = time.perf_counter()
        with deferred_interrupt() as interrupt, progress_bar(self.progress, rounds.total) as show:
            show(int(state.step), {})
            while int(state.step) < rounds.total and not interrupt.requested:
                state, row = rounds.round(state)
                show(int(state.step), row)
                rows.append({name: np.array([value]) for name, value in row.items()})
                if recorder is not None:
                    recorder.record(state, rows[-1], before + time.perf_counter() - clock)
            if recorder is not None:
                recorder.save()
            if int(state.step) < rounds.total:
                raise KeyboardInterrupt
        history = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        return state, history, before + time.perf_counter() - clock

    def _clips(self, rounds: "Rounds", state: "RoundState") -> tuple[dict[str, bytes], list[str]]:
        """The clips by file name, or why there are none."""
        if not self.clips:
            return {}, []
        try:
            return rounds.clips(state), []
        except Exception as error:  # drivers fail in many ways; hours of learning must not be lost
            return {}, [f"note: there is no clip: {error}"]

    def _outcome(self, rounds: "Rounds", history: History, seconds: float) -> Outcome:
        chosen = rounds.settings
        finals = _last_evaluations(history)
        metrics = {
            "true_return": float(np.mean(finals)),
            "true_return_error": _standard_error(finals),
            "true_returns": finals.tolist(),
            "best_evaluation": float(np.nanmax(history["eval_return"])),
            "preference_accuracy": _last(history, "preference_accuracy"),
            "implicit_ratio": _last(history, "implicit_ratio"),
            "steps_per_second": float(sum(_steps_of_seeds(history)) / seconds),
        }
        loop = rounds.learning.loop
        notes = [] if loop.can_restore else [_NOT_EXACT.format(name=loop.spec.name)]
        return Outcome(
            summary=summarize(
                problem=self.problem,
                method=self.method,
                objective=_last(history, "objective"),
                metrics=metrics,
                hypergradient_norm=_last(history, "hypergradient_norm"),
                steps=rounds.total,
                starts=self.seeds,
                compile_seconds=0.0,
                run_seconds=seconds,
                converged=False,
                settings={field: _plain(getattr(chosen, field)) for field in _SETTINGS},
                resumes_exactly=loop.can_restore,
            ),
            history=history,
            report=[self._table(chosen, metrics), *notes],
            figures={"learning": lambda: figures.learning(self.env, self.method, history)},
        )

    def _table(self, chosen: Settings, metrics: dict) -> Table:
        asked = "" if self.method == "ground-truth" else f"{chosen.pairs} pairs, "
        table = Table(title=f"{self.env}, {self.method}, {asked}{chosen.steps} steps")
        table.add_column("")
        table.add_column("value", justify="right")
        spread = f" ± {metrics['true_return_error']:.3g}" if self.seeds > 1 else ""
        table.add_row(
            f"true return at the end, {self.seeds} seed{'s' * (self.seeds > 1)}",
            f"[bold]{metrics['true_return']:.4g}{spread}[/bold]",
        )
        table.add_row("best evaluation", f"{metrics['best_evaluation']:.4g}")
        if self.method != "ground-truth":
            table.add_row("preferences predicted", f"{metrics['preference_accuracy']:.1%}")
        if self.method == "sobirl":
            table.add_row("implicit over explicit gradient", f"{metrics['implicit_ratio']:.3g}")
        table.add_row("environment steps a second", f"{metrics['steps_per_second']:,.0f}")
        return table


_SETTINGS = tuple(field.name for field in dataclasses.fields(Settings))
_NOT_EXACT = (
    "note: the state of {name} cannot be saved; a resumed run keeps what was learned and begins "
    "new episodes"
)


def _rounds() -> type["Rounds"]:
    """Loaded late: the deep world needs packages that the rest of sobirl does without."""
    try:
        return importlib.import_module("sobirl.runs.rlhf_rounds").Rounds
    except ImportError as error:
        raise InvalidInputError(
            f"rlhf needs further packages ({error}): pip install 'sobirl[envs]'"
        ) from error


def _last_evaluations(history: History) -> np.ndarray:
    """The last evaluation of every seed."""
    seeds, values = history["seed"], history["eval_return"]
    return np.array(
        [values[(seeds == seed) & np.isfinite(values)][-1] for seed in np.unique(seeds)]
    )


def _steps_of_seeds(history: History) -> list[float]:
    seeds, steps = history["seed"], history["environment_steps"]
    return [float(steps[seeds == seed].max()) for seed in np.unique(seeds)]


def _standard_error(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


def _last(history: History, name: str) -> float:
    return float(history[name][-1]) if name in history else math.nan


def _plain(value):
    return list(value) if isinstance(value, tuple) else value
