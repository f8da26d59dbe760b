"""Zero-order: differences of the leader's objective at random points nearby."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree

from sobirl.core.checks import check_number
from sobirl.core.errors import InvalidInputError
from sobirl.core.protocols import Problem
from sobirl.hypergrad.base import ContextProblem, HypergradMethod, summarize
from sobirl.hypergrad.budget import episode_length
from sobirl.hypergrad.experience import Setting, Streams
from sobirl.hypergrad.methods import METHODS, Needs
from sobirl.hypergrad.warm_start import WarmStart
from sobirl.mdp.rollouts import draw_states
from sobirl.solvers import Auto, Solver


class ZeroOrder(HypergradMethod):
    """Two-point Gaussian smoothing: ∇φ ≈ mean over u of (φ(x + σu) - φ(x - σu))/(2σ) u.

    The directions u are standard normal. The follower is solved anew at both points of each; where
    x enters the problem does not matter.

    Args:
        scale: σ, in units of x.
        directions: how many u an estimate takes.
        num_envs: environments in which φ is sampled at a point, one episode each, the same random
            numbers at both points; None asks for the exact φ, which any objective has. Sampling
            needs a `LeaderReturn`.
        rollout_steps: steps of every environment.
        solver: solves the follower.

    Metrics: `objective` (the mean of all points), `environment_steps`, `status`.

    Bias: the gradient of φ smoothed by N(0, σ²), off by O(σ²); where sampled, also that of
    episodes cut off after `rollout_steps`. The variance grows with the number of entries of x.

    Source: Nesterov and Spokoiny (2017), equation (30); the baseline of Thoma et al. (2024).
    """

    scale: float | Float[Array, ""] = 0.1
    directions: int = eqx.field(default=1, static=True)
    num_envs: int | None = eqx.field(default=16, static=True)
    rollout_steps: int = eqx.field(default=200, static=True)
    solver: Solver = Auto(rtol=1e-8, policy_tolerance=1e-6)

    def __check_init__(self):
        for name in ("directions", "num_envs", "rollout_steps"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise InvalidInputError(f"{name}: must be at least 1, got {count}")
        check_number("scale", self.scale, "must be positive", lambda scale: scale > 0)

    @property
    def needs(self) -> Needs:  # pyrefly: ignore[bad-override]  # depends on the options
        """A return to sample; or, without environments, any objective at random points."""
        return Needs(samples=True) if self.num_envs is None else METHODS["zero-order"].needs

    @classmethod
    def with_budget(cls, steps: int, **options: Any) -> "ZeroOrder":
        """Of so many environment steps: single episodes, shared by the two points."""
        length = episode_length(steps)
        sizes: dict[str, Any] = {"num_envs": max(1, steps // length // 2), "rollout_steps": length}
        return cls(**{**sizes, **options})

    def begin(self, problem: ContextProblem, x: PyTree, key: Key[Array, ""]) -> WarmStart:
        """Zero values, from which the first lower level is solved."""
        return WarmStart.cold(problem.mdp(x), self.solver)

    def estimate(
        self, problem: Problem, x: PyTree, state: WarmStart, key: Key[Array, ""]
    ) -> tuple[PyTree, WarmStart, dict[str, Array]]:
        """The estimate from two points a direction, the same in all contexts."""
        point, unravel = ravel_pytree(x)
        evaluate = super().estimate

        def along(key):
            direction_key, sample_key = jax.random.split(key)
            direction = jax.random.normal(direction_key, point.shape, point.dtype)

            def at(sign):
                moved = unravel(point + sign * self.scale * direction)
                return evaluate(problem, moved, state, sample_key)[1:]

            starts, metrics = jax.vmap(at)(jnp.array([1.0, -1.0], point.dtype))
            above, below = metrics.pop("objective")
            slope = (above - below) / (2 * self.scale)
            # Either point is a start as good as the other.
            start = jax.tree.map(lambda leaf: leaf[0], starts)
            return slope * direction, (above + below) / 2, start, metrics

        keys = jax.random.split(key, self.directions)
        estimates, objectives, starts, metrics = jax.vmap(along)(keys)
        state = jax.tree.map(lambda leaf: leaf[-1], starts)
        metrics = summarize(jnp.mean(objectives), metrics)
        return unravel(jnp.mean(estimates, axis=0)), state, metrics

    def estimate_one(
        self, problem: ContextProblem, x: PyTree, state: WarmStart, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], None, WarmStart, dict[str, Array]]:
        """φ at one point, exact or sampled, where its solve ended, and no hyper-gradient."""
        mdp = problem.mdp(x)
        solution, start = state.solve(mdp, self.solver)
        metrics = {"environment_steps": jnp.zeros((), jnp.int32), "status": solution.status_code}
        if self.num_envs is None:
            return problem.upper(x, solution.response), None, start, metrics
        reward = problem.leader_reward(mdp, x)
        discount = problem.objective.discount_table(mdp)
        follower = Setting(mdp, solution.response, reward, discount)
        start_key, key = jax.random.split(key)
        states = draw_states(start_key, mdp.initial, (self.num_envs,))
        batch, _ = follower.sample(key, Streams.begin(states, reward.dtype), self.rollout_steps)
        metrics["environment_steps"] = jnp.sum(batch.rollout.live)
        objective = -jnp.sum(batch.weight * batch.along(reward)) / self.num_envs
        return objective, None, start, metrics
