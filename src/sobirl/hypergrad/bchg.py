"""BC-HG: the leader's action value is learned along the way, by SARSA."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sobirl.core.checks import check_number
from sobirl.hypergrad.budget import long_batches
from sobirl.hypergrad.experience import Experience
from sobirl.hypergrad.trajectory_method import StepWeights, TrajectoryMethod
from sobirl.mdp import SoftMDP


class BCHG(TrajectoryMethod):
    """BC-HG (Kudo et al. 2026), tabular.

    ∇J ≈ ∂_x Ĵ + 1/(τN) Σ_t γ_u^t [Q_u(s_t,a_t) - Σ_a π Q_u(s_t,a)] ∇Q̂(s_t,a_t)

    with ∇Q̂ the discounted sum of ∇r over the rest of the same trajectory, so that the sum is an
    eligibility trace, and Q_u a table that is carried from step to step and learned by SARSA,
    Q_u(s,a) ← Q_u(s,a) + α (r_u + γ_u Q_u(s',a') - Q_u(s,a)), on each batch before it is used.

    Args:
        num_envs: environments that run side by side, one batch a context; 1 in the paper.
        rollout_steps: steps of every environment; 100 to 1000 in the paper.
        episodes: "autoreset" begins a new episode where one ends; "continued" does so too, and
            goes on with the next batch where this one left off; "single" has one episode an
            environment and batch.
        solver: solves the follower.
        learning_rate: α. Environments that visit the same state and action at the same time share
            one update by their mean error.

    Metrics: `objective` (minus the mean sampled return), `environment_steps`, `truncation` (the
    leader's mean discount weight after the last step), `status`.

    Bias: Q_u lags behind a follower that moves, and has learned from the very trajectories that it
    weights; both vanish with α and the leader's step size.

    Source: Kudo et al. (2026), tabular variant.
    """

    learning_rate: float | Float[Array, ""] = 0.1

    def __check_init__(self):
        check_number(
            "learning_rate", self.learning_rate, "must lie in (0, 1]", lambda rate: 0 < rate <= 1
        )

    @classmethod
    def with_budget(cls, steps: int, **options: Any) -> "BCHG":
        """Of so many environment steps: few environments that take many."""
        return cls(**{**long_batches(steps), **options})

    def remember(self, mdp: SoftMDP) -> Float[Array, "S A"]:
        """Q_u = 0."""
        return jnp.zeros_like(mdp.reward)

    def implicit(
        self, batch: Experience, memory: Float[Array, "S A"], key: Key[Array, ""]
    ) -> StepWeights:
        """w_t from the table, once it has learned from the batch."""
        rollout = batch.rollout
        q = self._learn(batch, memory)
        advantage = q - jnp.sum(batch.response.policy * q, axis=-1, keepdims=True)
        return StepWeights(batch, batch.weight * batch.along(advantage) * rollout.live, memory=q)

    def _learn(self, batch: Experience, q: Float[Array, "S A"]) -> Float[Array, "S A"]:
        """SARSA along the batch, all environments in step; the last action has no successor."""
        rollout, discount = batch.rollout, batch.along(batch.discount)
        # A successor counts if it is of the same episode; at an episode's end none is needed.
        follows = ~rollout.first[:, 1:] | (discount[:, :-1] == 0)
        steps = rollout.state, rollout.action, batch.along(batch.reward), discount
        now = *(leaf[:, :-1].T for leaf in steps), (rollout.live[:, :-1] & follows).T
        after = rollout.next_state[:, :-1].T, rollout.action[:, 1:].T

        def update(q, inputs):
            (state, action, reward, discount, live), (next_state, next_action) = inputs
            error = reward + discount * q[next_state, next_action] - q[state, action]
            together = jnp.zeros_like(q).at[state, action].add(live)
            share = live / jnp.maximum(together[state, action], 1)
            return q.at[state, action].add(self.learning_rate * share * error), None

        return jax.lax.scan(update, q, (now, after))[0]
