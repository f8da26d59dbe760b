"""`sobirl.load_run`: what a run has learned, for use in Python."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from sobirl.experiments.registry import kind_of
from sobirl.runs.configuration import options_of
from sobirl.runs.saved import SavedRun, X
from sobirl.runs.solution import read_solution

if TYPE_CHECKING:
    from sobirl.bilevel import BilevelProblem


@dataclasses.dataclass(frozen=True)
class LoadedRun:
    """A run, read back.

    Attributes:
        path: its directory.
        x: what was found; see `read_solution`. None for one that has no x (rlhf).
        history: the columns of `metrics.csv`, one row a step, `step` among them.
        summary: the contents of `summary.json`; None for a run that has not ended.
        problem: the bilevel problem, where the run's options say what it is or it was given.
        policy: the follower's learned policy. Of tables: `policy(state, context=None)` gives the
            probabilities of the actions (A,). Of rlhf and incentives:
            `policy(observation, seed=0)` gives an action. None where neither is known.
        reward: the reward that the follower was given. Of tables:
            `reward(state, action, context=None)`; of rlhf `reward(observation, action)`; of
            incentives the same, what it was paid beside the environment's own reward.
    """

    path: Path
    x: Any
    history: dict[str, np.ndarray]
    summary: dict[str, Any] | None
    problem: "BilevelProblem | None" = None
    policy: Callable[..., Any] | None = None
    reward: Callable[..., Any] | None = None


def load_run(
    directory: Path | str, problem: "BilevelProblem | None" = None, like: Any = None
) -> LoadedRun:
    """Read a run directory: the x, the history, and the learned policy and reward as functions.

    Args:
        directory: of the run, for example "runs/four-rooms-1".
        problem: of a run that `record` made, without which its policy cannot be known.
        like: a pytree with the structure of x, where x is more than one array.

    Raises:
        InvalidInputError: it is no run directory, is damaged, or an input file is gone.
    """
    saved = SavedRun.load(Path(directory))
    options = None if saved.is_recorded else options_of(saved, kind_of(saved))
    learned: dict[str, Any] = {} if options is None else options.learned(saved)
    x = learned.pop("x", None)
    if x is None and (saved.path / X).exists():
        x = jax.tree.map(jnp.asarray, read_solution(saved.path / X, like))
    learned.setdefault("problem", problem)
    loaded = LoadedRun(saved.path, x, saved.metrics(), saved.summary, **learned)
    if loaded.problem is None or loaded.policy is not None or x is None:
        return loaded
    return dataclasses.replace(loaded, **_of_tables(loaded.problem, x))


def _of_tables(problem: "BilevelProblem", x: Any) -> dict[str, Any]:
    """The follower's policy and reward at x, as functions of states."""
    policies = np.exp(np.asarray(problem.respond(x).log_policy))
    rewards = np.asarray(problem.each_context(lambda context: problem.lower(x, context).reward))

    def table(tables: np.ndarray, context: int | None) -> np.ndarray:
        return tables if problem.contexts is None else tables[0 if context is None else context]

    def policy(state: int, context: int | None = None) -> np.ndarray:
        return table(policies, context)[state]

    def reward(state: int, action: int, context: int | None = None) -> float:
        return float(table(rewards, context)[state, action])

    return {"policy": policy, "reward": reward}
