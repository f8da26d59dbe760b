"""Naive: the leader's reward changes, the follower stays."""

from typing import Any

from jaxtyping import Array, Key

from sobirl.hypergrad.experience import Experience
from sobirl.hypergrad.trajectory_method import TrajectoryMethod


class Naive(TrajectoryMethod):
    """The explicit term alone: ∇_x J at a follower that is held fixed.

    What training on the follower's data without a thought for its response does, plain RLHF for
    example. Where x enters only the follower's reward, the estimate is 0.

    Args:
        num_envs: environments that run side by side, one batch a context.
        rollout_steps: steps of every environment.
        episodes: "autoreset" begins a new episode where one ends; "continued" does so too, and
            goes on with the next batch where this one left off; "single" has one episode an
            environment and batch.
        solver: solves the follower.

    Metrics: `objective` (minus the mean sampled return), `environment_steps`, `truncation` (the
    leader's mean discount weight after the last step), `status`.

    Bias: the whole implicit term.
    """

    def implicit(self, batch: Experience, memory: Any, key: Key[Array, ""]) -> None:
        """None."""
        return None
