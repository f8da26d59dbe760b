"""The sizes of batches that keep within a budget of environment steps.

Environments that go on from batch to batch get many short ones, which is faster; methods that begin
anew get few long ones.
"""

from typing import Any, TypeVar

import equinox as eqx

from sobirl.core.errors import InvalidInputError
from sobirl.core.protocols import Method, Problem
from sobirl.hypergrad.leader_return import LeaderReturn
from sobirl.hypergrad.methods import entry
from sobirl.hypergrad.trajectory_loss import TrajectoryLoss

Given = TypeVar("Given", bound=Problem)

_EPISODE = 200  # steps after which a single episode is cut off


def short_batches(steps: int) -> dict[str, Any]:
    """Many environments, of which each takes few steps."""
    length = min(_positive(steps), 25 if steps < 500 else 50)
    return {"num_envs": steps // length, "rollout_steps": length}


def long_batches(steps: int) -> dict[str, Any]:
    """Few environments, of which each takes many steps."""
    few = max(1, _positive(steps) // 1000)
    return {"num_envs": few, "rollout_steps": steps // few}


def episode_length(steps: int) -> int:
    """The steps of a single episode: two of them should fit."""
    return max(1, min(_EPISODE, _positive(steps) // 2))


def with_budget(name: str, problem: Given, steps: int, **options: Any) -> tuple[Method, Given]:
    """A method of `METHODS` with a budget, and the problem as that method takes it.

    Methods for losses of trajectories get a `LeaderReturn` as such a loss, cut off where the budget
    says. Their `with_budget` is told how many steps a tuple takes, `tuple_steps`.

    Args:
        name: which method.
        problem: what it is for.
        steps: the most environment steps of an estimate in a context.
        options: the class's own, which win over those that the budget suggests.

    Raises:
        InvalidInputError: there is no such method, or steps is below 1.
    """
    chosen = entry(name)
    if chosen.needs.objective == "loss":
        if isinstance(problem.objective, LeaderReturn):
            loss = problem.objective.as_trajectory_loss(episode_length(steps))
            problem = eqx.tree_at(lambda p: p.objective, problem, loss)
        if isinstance(problem.objective, TrajectoryLoss) and hasattr(chosen.load(), "with_budget"):
            loss = problem.objective
            options = {"tuple_steps": loss.horizon * loss.num_trajectories, **options}
    return chosen.make(_positive(steps), **options), problem


def _positive(steps: int) -> int:
    if steps < 1:
        raise InvalidInputError(f"steps: must be at least 1, got {steps}")
    return steps
