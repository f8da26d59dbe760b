"""Stoc-SoBiRL: minibatches of the follower's current policy, which never converges first."""

import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sobirl.core.checks import check_number
from sobirl.core.errors import InvalidInputError
from sobirl.core.status import Status
from sobirl.hypergrad.score_method import ScoreMethod
from sobirl.mdp import SoftMDP
from sobirl.solvers import policy_return


class StocSoBiRL(ScoreMethod):
    """Stochastic SoBiRL: the estimator of `SoBiRL` at a follower that is only on its way.

    Per outer step the follower takes a few steps from where it stood; then a minibatch of tuples
    of its current policy gives the estimate, with walks cut off at `horizon`.

    Args:
        num_tuples: B, the minibatch.
        horizon: where the walks are cut off; `tail_horizon` gives one that bounds the error.
        tails: where the visits after a step come from, see `SoBiRL`.
        baseline: subtract from each loss the mean of the others.
        expectations: "sampled", or "exact" for comparison, see `SoBiRL`.
        inner: what a step of the follower is: a soft value "sweep", after which its policy is the
            softmax of Q/τ; or a "policy_gradient" step on the logits of the policy, from ρ.
        inner_steps: N, the follower's steps in an outer step.
        inner_learning_rate: the policy gradient's step size, 1 by default.

    The leader's step size is the optimizer's: constant, or with a schedule such as
    `optax.polynomial_schedule` one that decays.

    Metrics: `objective` (the mean loss at the current policy), `environment_steps`, `status`
    (only whether all is finite).

    Bias: that of the walks' length, and the follower's distance from its optimum, which shrinks by
    γ^N a step while x moves slowly.

    Source: Yang, Gao, Yuan (2025), algorithm 3.
    """

    num_tuples: int = eqx.field(default=16, static=True)
    horizon: int | Literal["full"] = eqx.field(default=20, static=True)
    inner: Literal["sweep", "policy_gradient"] = eqx.field(default="sweep", static=True)
    inner_steps: int = eqx.field(default=10, static=True)
    inner_learning_rate: float | Float[Array, ""] | None = None

    def __check_init__(self):
        if self.inner == "sweep" and self.inner_learning_rate is not None:
            raise InvalidInputError("inner_learning_rate: goes with inner='policy_gradient' only")
        check_number(
            "inner_learning_rate", self.inner_learning_rate, "must be positive", lambda s: s > 0
        )
        if self.inner not in ("sweep", "policy_gradient"):
            raise InvalidInputError(
                f"inner: must be 'sweep' or 'policy_gradient', got {self.inner!r}"
            )
        if self.inner_steps < 1:
            raise InvalidInputError(f"inner_steps: must be at least 1, got {self.inner_steps}")

    def start_follower(self, mdp: SoftMDP) -> Float[Array, "..."]:
        """V = 0 (S,), or the logits of the reference policy (S,A)."""
        if self.inner == "sweep":
            return jnp.zeros(mdp.shape[0], mdp.reward.dtype)
        return mdp.log_reference

    def follow(
        self, mdp: SoftMDP, follower: Float[Array, "..."]
    ) -> tuple[Float[Array, "S A"], Float[Array, "..."], Int[Array, ""]]:
        """The policy after `inner_steps` more steps."""
        learning_rate = 1.0 if self.inner_learning_rate is None else self.inner_learning_rate

        def sweep(_, value):
            return mdp.soft_value(mdp.action_value(value))

        def climb(_, logits):
            def value(logits):
                return policy_return(mdp, jax.nn.softmax(logits), regularized=True)

            return logits + learning_rate * jax.grad(value)(logits)

        if self.inner == "sweep":
            follower = jax.lax.fori_loop(0, self.inner_steps, sweep, follower)
            policy = mdp.respond(follower).policy
        else:
            follower = jax.lax.fori_loop(0, self.inner_steps, climb, follower)
            policy = jax.nn.softmax(follower)
        finite = jnp.all(jnp.isfinite(policy))
        return policy, follower, jnp.where(finite, Status.CONVERGED, Status.NOT_FINITE)


def tail_horizon(discount: float, error: float) -> int:
    """The walk length n that keeps what is left out, γ^{n+1}/(1-γ), below `error`.

    That is the largest possible sum of what is cut off from ∇Q or ∇V, in units of ‖∇r‖_∞.

    Raises:
        InvalidInputError: a discount outside [0, 1), or an error that is not positive.
    """
    if not 0 <= discount < 1:
        raise InvalidInputError(f"discount: must lie in [0, 1), got {discount}")
    if not error > 0:
        raise InvalidInputError(f"error: must be positive, got {error}")
    if discount == 0:
        return 0
    return max(0, math.ceil(math.log(error * (1 - discount)) / math.log(discount)) - 1)
