"""The eligibility trace of the leader's advantage: one trajectory, no Jacobian."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sobirl.core.checks import check_number
from sobirl.core.errors import InvalidInputError
from sobirl.hypergrad.experience import Experience, Streams
from sobirl.hypergrad.trajectory_method import Episodes, StepWeights, TrajectoryMethod
from sobirl.hypergrad.transition_counts import TransitionCounts
from sobirl.mdp import SoftMDP
from sobirl.mdp.transitions import invert
from sobirl.solvers import policy_value

Advantage = Literal["fitted", "rollouts", "exact"]


class AdvantageTrace(TrajectoryMethod):
    """∇J = ∂_x J + 1/τ E[Σ_t e_t ∇r(s_t,a_t)], e_t = γ e_{t-1} + γ_u^t A_u(s_t,a_t).

    A_u is the leader's advantage under the follower's policy. Taken from the same trajectory it
    would correlate with what follows; here it never is.

    Args:
        num_envs: environments that run side by side, one batch a context.
        rollout_steps: steps of every environment.
        episodes: "continued" goes on with every batch where the last one left off, so that no
            step is wasted and no episode cut off; "autoreset" begins every batch with new
            episodes, and counts those cut off at its end as whole; "single" has one episode an
            environment and batch, and its mean over them is exact.
        solver: solves the follower.
        advantage: "fitted" is the least-squares fit to all transitions of *earlier* outer steps
            (see `memory`); "rollouts" simulates anew from steps of the batch, see `branches`;
            "exact" asks the model, which is for comparison.
        branches: for "rollouts", how many steps of every environment are looked at, 4 by default.
            From each, two rollouts of `rollout_steps` begin: one with the action taken, one with
            another.
        memory: for "fitted", the weight of what was seen one outer step earlier; 1, the default,
            never forgets, which is right if x does not enter the transitions.

    Metrics: `objective` (minus the mean sampled return), `environment_steps`, `truncation` (the
    leader's mean discount weight after the last step: the share of the return that a batch does
    not see), `status`.

    Bias: with "single" episodes, "exact" has none but the truncation, whose share of the return is
    the metric's. "rollouts" truncates its returns as well. "fitted" is consistent: its bias falls
    with the transitions seen, and the first estimate is the explicit term alone. The number of
    episodes is random unless they are "single": a ratio, whose bias falls with that number; and
    "continued" episodes remember the followers of earlier steps.
    """

    episodes: Episodes = eqx.field(default="continued", static=True)
    advantage: Advantage = eqx.field(default="fitted", static=True)
    branches: int | None = eqx.field(default=None, static=True)
    memory: float | Float[Array, ""] | None = None

    def __check_init__(self):
        if self.advantage not in ("fitted", "rollouts", "exact"):
            raise InvalidInputError(
                f"advantage: must be 'fitted', 'rollouts' or 'exact', got {self.advantage!r}"
            )
        for name, owner in (("branches", "rollouts"), ("memory", "fitted")):
            if getattr(self, name) is not None and self.advantage != owner:
                raise InvalidInputError(f"{name}: goes with advantage={owner!r} only")
        check_number("branches", self.branches, "must be at least 1", lambda count: count >= 1)
        check_number("memory", self.memory, "must lie in [0, 1]", lambda share: 0 <= share <= 1)

    def remember(self, mdp: SoftMDP) -> TransitionCounts | None:
        """Nothing seen yet."""
        if self.advantage != "fitted":
            return None
        return TransitionCounts.empty(mdp.transition, mdp.reward.dtype)

    def implicit(self, batch: Experience, memory: Any, key: Key[Array, ""]) -> StepWeights:
        """w_t = γ_u^t Â_u(s_t,a_t)."""
        if self.advantage == "rollouts":
            return self._branch_out(batch, key)
        policy = batch.response.policy
        if self.advantage == "exact":
            value = policy_value(batch.mdp, policy, batch.reward, batch.discount)
            q = batch.reward + batch.discount * batch.mdp.transition.expect(value)
            advantage, seen = q - value[:, None], None
        else:
            law = batch.mdp.transition
            advantage = memory.evaluate(law, policy, batch.discount).advantage(batch.reward)
            kept = 1.0 if self.memory is None else self.memory
            seen = memory.add(law, *batch.transitions, kept)
        return StepWeights(batch, batch.weight * batch.along(advantage), seen)

    def _branch_out(self, batch: Experience, key: Key[Array, ""]) -> StepWeights:
        """Unbiased advantages at random steps, each from two independent returns."""
        step_key, action_key, branch_key = jax.random.split(key, 3)
        branches = 4 if self.branches is None else self.branches
        envs = jnp.arange(self.num_envs)[:, None]
        # Steps are drawn in proportion to their weight, so that every one drawn counts alike.
        total = jnp.sum(batch.weight, axis=-1, keepdims=True)
        draw = jax.random.uniform(step_key, (self.num_envs, branches), total.dtype)
        cumulative = jnp.cumsum(batch.weight, axis=-1)
        step = invert(
            jnp.broadcast_to(cumulative[:, None], (*draw.shape, self.rollout_steps)), draw
        )
        state = batch.rollout.state[envs, step].ravel()
        taken = batch.rollout.action[envs, step].ravel()
        other = jax.random.categorical(action_key, batch.response.log_policy[state])
        streams = Streams.begin(state, total.dtype)

        def sampled_return(first_action):
            # The same random numbers for both, whose difference is what matters.
            branch, _ = batch.sample(branch_key, streams, self.rollout_steps, None, first_action)
            rewards = branch.weight * branch.along(branch.reward)
            return jnp.sum(rewards, axis=-1), jnp.sum(branch.rollout.live)

        (with_taken, steps), (with_other, more) = sampled_return(taken), sampled_return(other)
        advantage = (with_taken - with_other).reshape(draw.shape) * total / branches
        weight = jnp.zeros_like(batch.weight).at[envs, step].add(advantage)
        return StepWeights(batch, weight, extra_steps=steps + more)
