"""M-SoBiRL: one loop in which the follower, the adjoint and the leader move together."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PyTree

from sobirl.core.checks import check_shape
from sobirl.core.errors import InvalidInputError
from sobirl.core.response import Response
from sobirl.core.status import Status
from sobirl.hypergrad.base import ContextProblem, HypergradMethod
from sobirl.hypergrad.methods import METHODS, Needs
from sobirl.mdp.soft_mdp import SoftMDP


class MSoBiRLState(eqx.Module):
    """What M-SoBiRL carries from one outer step to the next."""

    value: Float[Array, "*C S"]
    adjoint: Float[Array, "*C S"]
    first: Bool[Array, "*C"]


class MSoBiRL(HypergradMethod):
    """Model-based soft bilevel RL: per outer step a few value sweeps and one adjoint step.

    At outer step k, with Q_k = r_k + γ P V_k and g = ∂f/∂π at π_k:

        π_k = exp((Q_k - V_k)/τ)                    not normalized: V_k is no fixed point yet
        w   ← w - ζ (BᵀB w - Bᵀb),  B = (I - γP_{π_k})ᵀ      one step on the normal equations
        μ   = (π_k∘g - w π̃_k)/τ,   π̃_k = softmax(Q_k/τ)      the normalized policy
        ∇̂φ  = ∂_x f + Σ μ ∇_x Q_x

    then, at the new x, up to `sweeps` soft value sweeps give V_{k+1}. Before the first step V = 0
    and π_0 is uniform. Pair it with plain gradient descent, `optax.sgd`, for the paper's method.
    x may enter the reward, the transitions and the discount.

    Args:
        adjoint_step: "normal" is the paper's gradient step on ‖Bw - b‖²/2, which needs
            ζ < 2/‖B‖² and is slow for γ near 1; "occupancy" is w ← b + γ P_πᵀ w, which contracts by
            γ in the 1-norm whatever the size, if π sums to 1, and needs no step size.
        normalize: use π̃_k in the place of π_k throughout. π_k sums to 1 only where V_k is the
            fixed point; before that, for γ near 1, it may sum to so much that both adjoint steps
            expand. The paper does not normalize.
        adjoint_step_size: ζ, for "normal".
        sweeps: N, the most value sweeps an outer step takes.
        sweep_tolerance: stop sweeping once V changes by less than this.
        initial_adjoint: w before the first step, (S,); zeros by default.

    Metrics: `objective` (f at the policy in use), `residual` (‖V_k - T V_k‖_∞), `adjoint_residual`
    (‖Bw - b‖₁/‖b‖₁ after the step), `status` (only whether all is finite).

    Raises:
        InvalidInputError: x enters the temperature or the reference policy, where this method has
            no derivative; a wrong option.

    Source: Yang, Gao, Yuan (2025), algorithm 1; policies and order of updates as in their code.
    """

    adjoint_step: str = eqx.field(default="normal", static=True)
    adjoint_step_size: float | Float[Array, ""] = 0.5
    normalize: bool = eqx.field(default=False, static=True)
    sweeps: int = eqx.field(default=10, static=True)
    sweep_tolerance: float | Float[Array, ""] = 1e-6
    initial_adjoint: Float[Array | np.ndarray, "S"] | None = None

    needs: ClassVar[Needs] = METHODS["m-sobirl"].needs

    def __check_init__(self):
        if self.adjoint_step not in ("normal", "occupancy"):
            raise InvalidInputError(
                f"adjoint_step: must be 'normal' or 'occupancy', got {self.adjoint_step!r}"
            )
        if self.sweeps < 1:
            raise InvalidInputError(f"sweeps: must be at least 1, got {self.sweeps}")

    def advice(self, status: Status) -> str | None:
        """What to do if the loop diverges."""
        if status is not Status.NOT_FINITE:
            return None
        others = "`Exact()` (`exact`), which solves both levels in every step"
        if self.adjoint_step != "occupancy" or not self.normalize:
            others = (
                '`MSoBiRL(adjoint_step="occupancy", normalize=True)` (`m-sobirl-normalized` on the '
                f"command line), whose adjoint step always contracts, or {others}"
            )
        return (
            f"The single loop diverged: a value is NaN or infinite. Use {others}; or take smaller "
            "steps in x."
        )

    def begin(self, problem: ContextProblem, x: PyTree, key: Key[Array, ""]) -> MSoBiRLState:
        """V = 0 and the initial adjoint."""
        mdp = problem.mdp(x)
        zeros = adjoint = jnp.zeros(mdp.shape[0], mdp.reward.dtype)
        if self.initial_adjoint is not None:
            check_shape("initial_adjoint", self.initial_adjoint, zeros.shape)
            adjoint = jnp.asarray(self.initial_adjoint, zeros.dtype)
        return MSoBiRLState(zeros, adjoint, jnp.array(True))

    def estimate_one(
        self, problem: ContextProblem, x: PyTree, state: MSoBiRLState, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], PyTree, MSoBiRLState, dict[str, Array]]:
        """The hyper-gradient that the current value and adjoint give; it sweeps V at x first."""
        mdp = problem.mdp(x)
        value = self._sweep(mdp, state.value, jnp.where(state.first, 0, self.sweeps))
        q = mdp.action_value(value)
        backed_up = mdp.soft_value(q)
        log_policy = mdp.log_policy(q, backed_up)
        normalized = jnp.exp(log_policy)
        if not self.normalize:
            uniform = jax.nn.log_softmax(mdp.log_reference)
            log_policy = jnp.where(state.first, uniform, mdp.log_policy(q, value))
        response = Response(value, q, log_policy)
        objective, (explicit, cotangent) = jax.value_and_grad(problem.upper, argnums=(0, 1))(
            x, response
        )
        adjoint, relative_residual = self._adjoint_step(mdp, response, cotangent, state.adjoint)
        mu = (cotangent.log_policy - adjoint[:, None] * normalized) / mdp.temperature
        _, pull_q = jax.vjp(lambda x: problem.mdp(x).action_value(value), x)
        (implicit,) = pull_q(mu + cotangent.q)
        metrics = {
            "residual": jnp.max(jnp.abs(backed_up - value)),
            "adjoint_residual": relative_residual,
        }
        state = MSoBiRLState(value, adjoint, jnp.array(False))
        return objective, jax.tree.map(jnp.add, explicit, implicit), state, metrics

    def _sweep(self, mdp: SoftMDP, value: Float[Array, "S"], limit) -> Float[Array, "S"]:
        """At most `limit` soft value sweeps, until they change V by less than the tolerance."""

        def unfinished(carry):
            _, change, done = carry
            return (done < limit) & (change >= self.sweep_tolerance)

        def sweep(carry):
            value, _, done = carry
            swept = mdp.soft_value(mdp.action_value(value))
            return swept, jnp.max(jnp.abs(swept - value)), done + 1

        infinite = jnp.full((), jnp.inf, value.dtype)
        return jax.lax.while_loop(unfinished, sweep, (value, infinite, 0))[0]

    def _adjoint_step(self, mdp: SoftMDP, response: Response, cotangent: Response, w):
        """One step on Bw = b from w, and the relative residual after it."""
        discounted = mdp.discount * response.policy

        def apply(w):  # B w
            return w - mdp.transition.push(discounted * w[:, None])

        def apply_transposed(y):  # Bᵀ y
            return y - jnp.sum(discounted * mdp.transition.expect(y), axis=-1)

        direct = cotangent.log_policy  # π∘g
        through_q = direct + mdp.temperature * cotangent.q
        b = jnp.sum(direct, axis=-1) - mdp.transition.push(mdp.discount * through_q)
        b = b - mdp.temperature * cotangent.value
        residual = apply(w) - b
        if self.adjoint_step == "occupancy":
            w = w - residual  # = b + γ P_πᵀ w
        else:
            w = w - self.adjoint_step_size * apply_transposed(residual)
        size = jnp.sum(jnp.abs(b))
        remaining = jnp.sum(jnp.abs(apply(w) - b)) / jnp.where(size > 0, size, 1.0)
        return w, remaining
