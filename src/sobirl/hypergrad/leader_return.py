"""The leader's discounted return: the objective that methods can estimate from trajectories."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from sobirl.core.checks import as_float_array
from sobirl.core.response import Response
from sobirl.hypergrad.trajectory_loss import TrajectoryLoss
from sobirl.mdp.soft_mdp import SoftMDP, discount_table, reward_table
from sobirl.solvers import policy_return
from sobirl.solvers.linear import LinearSolver


class LeaderReturn(eqx.Module):
    """f(x, π) = -E[Σ_t γ_u^t r_u(s_t, a_t)] under the follower's policy π, to be minimized.

    An objective of `BilevelProblem` like any other; methods that work from trajectories need this
    one, because they see the leader's reward step by step.

    Args:
        follower: the problem's own `follower`.
        reward: `reward(x)` gives the leader's r_u as (S,), (S,A) or (S,A,S); with contexts
            `reward(x, context)`.
        discount: γ_u as a scalar, (S,) or (S,A), 0 where an episode ends; by default the
            follower's. It must not depend on x.
        linear_solver: evaluates the policy; by size and structure by default. NaN where it fails.

    Raises:
        InvalidInputError: a discount outside [0, 1).

    Source: Thoma et al. (2024), equation (1).
    """

    follower: Callable
    reward: Callable
    discount: float | np.floating | Float[Array | np.ndarray, "..."] | None = None
    linear_solver: LinearSolver | None = None

    def __check_init__(self):
        if self.discount is not None:
            as_float_array(
                "discount", self.discount, "must lie in [0, 1)", lambda d: (d >= 0) & (d < 1)
            )

    def __call__(self, x: PyTree, response: Response, *context: PyTree) -> Float[Array, ""]:
        """-E[Σ_t γ_u^t r_u], exactly."""
        mdp = self.follower(x, *context)
        reward = self.reward_table(mdp, x, *context)
        discount = self.discount
        if discount is not None:  # one number stays one: iterative solvers know more then
            discount = discount_table(mdp.transition, discount).astype(mdp.reward.dtype)
        return -policy_return(
            mdp, response.policy, reward, discount, linear_solver=self.linear_solver
        )

    def reward_table(self, mdp: SoftMDP, x: PyTree, *context: PyTree) -> Float[Array, "S A"]:
        """r_u (S,A) at x."""
        return reward_table(mdp.transition, self.reward(x, *context)).astype(mdp.reward.dtype)

    def discount_table(self, mdp: SoftMDP) -> Float[Array, "S A"]:
        """γ_u (S,A)."""
        discount = mdp.discount
        if self.discount is not None:
            discount = discount_table(mdp.transition, self.discount)
        return jnp.broadcast_to(discount, mdp.shape).astype(mdp.reward.dtype)

    def as_trajectory_loss(self, horizon: int) -> TrajectoryLoss:
        """The same objective, cut off after `horizon`, as a loss of one trajectory.

        What is cut off is at most γ_u^horizon/(1 - γ_u) times the largest reward.
        """

        def loss(x, trajectory, *context):
            mdp = self.follower(x, *context)
            place = trajectory.state, trajectory.action
            reward = self.reward_table(mdp, x, *context)[place]
            discount = self.discount_table(mdp)[place]
            before = jnp.ones_like(discount).at[:, 1:].set(discount[:, :-1])
            weight = jnp.cumprod(before, axis=-1)
            return -jnp.sum(weight * reward)

        return TrajectoryLoss(self.follower, loss, horizon)
