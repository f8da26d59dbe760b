"""HPGD: hyper policy gradient descent with Monte Carlo tables of one batch."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sobirl.core.errors import InvalidInputError
from sobirl.hypergrad.budget import long_batches
from sobirl.hypergrad.experience import Experience, Streams
from sobirl.hypergrad.trajectory_method import StepWeights, TrajectoryMethod
from sobirl.mdp.rollouts import draw_states

Sampling = Literal["on_policy", "uniform", "single_start"]


class HPGD(TrajectoryMethod):
    """Hyper policy gradient descent (Thoma et al. 2024).

    ∇J ≈ ∂_x Ĵ + 1/(τN) Σ_t γ_u^t Â_u(s_t,a_t) (∇Q̂ - ∇V̂)(s_t,a_t)

    where Â_u, ∇Q̂ and ∇V̂ are averages over the visits of the same batch. The tables ∇Q̂ and ∇V̂ of
    S·A·n numbers are never formed: with c the sum of γ_u^t Â_u over the visits of (s,a) and n the
    number of visits, the same sum is an eligibility trace of
    w_t = c(s_t,a_t)/n(s_t,a_t) - Σ_a c(s_t,a)/n(s_t).

    Args:
        num_envs: environments that run side by side, one batch a context; 5 in the paper.
        rollout_steps: steps of every environment; 2000 in the paper.
        episodes: "autoreset" begins a new episode where one ends; "continued" does so too, and
            goes on with the next batch where this one left off; "single" has one episode an
            environment and batch.
        solver: solves the follower.
        sampling: where the second term's episodes begin: "on_policy" takes the batch itself;
            "uniform" takes a second one, of the same size, from uniform states; "single_start"
            one from a single random state.

    Metrics: `objective` (minus the mean sampled return), `environment_steps`, `truncation` (the
    leader's mean discount weight after the last step), `status`.

    Bias: returns and weights are of the same trajectories, which correlates them; it falls with
    the visits of each state and action. Beside that, "uniform" and "single_start" weight states
    by another occupancy than the hyper-gradient does.

    Source: Thoma et al. (2024), algorithm 1 and their code; episodes that begin are counted, where
    theirs counts those that end, and every context has its batch, where theirs draws one.
    """

    sampling: Sampling = eqx.field(default="on_policy", static=True)

    def __check_init__(self):
        if self.sampling not in ("on_policy", "uniform", "single_start"):
            raise InvalidInputError(
                f"sampling: must be 'on_policy', 'uniform' or 'single_start', got {self.sampling!r}"
            )

    @classmethod
    def with_budget(cls, steps: int, **options: Any) -> "HPGD":
        """Of so many environment steps: few environments that take many."""
        return cls(**{**long_batches(steps), **options})

    def implicit(self, batch: Experience, memory: Any, key: Key[Array, ""]) -> StepWeights:
        """w_t from the tables of the batch, or of a second one."""
        extra_steps = 0
        if self.sampling != "on_policy":
            batch = self._elsewhere(batch, key)
            extra_steps = jnp.sum(batch.rollout.live)
        rollout = batch.rollout
        to_go = batch.leader_return_to_go()
        visits = batch.sums(rollout.live.astype(to_go.dtype))
        q = batch.sums(to_go * rollout.live)
        value = _ratio(jnp.sum(q, -1), jnp.sum(visits, -1))
        advantage = _ratio(q, visits) - value[:, None]
        flow = batch.sums(batch.weight) * advantage  # c(s,a)
        means = _ratio(flow, visits) - _ratio(jnp.sum(flow, -1), jnp.sum(visits, -1))[:, None]
        return StepWeights(batch, batch.along(means) * rollout.live, extra_steps=extra_steps)

    def _elsewhere(self, batch: Experience, key: Key[Array, ""]) -> Experience:
        """A batch whose episodes begin anywhere."""
        states = len(batch.reward)
        where = jnp.full(states, 1 / states, batch.reward.dtype)
        start_key, pick_key, key = jax.random.split(key, 3)
        if self.sampling == "single_start":
            where = jax.nn.one_hot(jax.random.randint(pick_key, (), 0, states), states)
        streams = Streams.begin(draw_states(start_key, where, (self.num_envs,)), batch.reward.dtype)
        restart = None if self.episodes == "single" else where
        return batch.sample(key, streams, self.rollout_steps, restart)[0]


def _ratio(total: Float[Array, "*K"], count: Float[Array, "*K"]) -> Float[Array, "*K"]:
    """Means, 0 where nothing was seen."""
    return total / jnp.maximum(count, 1)
