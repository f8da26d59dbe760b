"""The soft (entropy-regularized) Markov decision process and its Bellman backup."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, ArrayLike, Float

from sobirl.core.checks import Checked, Numbers, as_float_array, check, check_shape
from sobirl.core.errors import InvalidInputError
from sobirl.core.response import Response
from sobirl.mdp.policy_system import PolicySystem
from sobirl.mdp.transitions import TransitionOperator


class SoftMDP(eqx.Module):
    """A discounted MDP whose agent pays τ times the relative entropy of its policy.

        Q(s,a) = r(s,a) + γ Σ_s' P(s'|s,a) V(s')
        V(s)   = τ log Σ_a π_ref(a|s) exp(Q(s,a)/τ)
        π(a|s) = π_ref(a|s) exp((Q(s,a) - V(s))/τ)

    A pytree of arrays: it passes through `jit`, `grad` and `vmap`.

    Args:
        transition: the law P(s'|s,a), for example `Dense(P)`.
        reward: r as (S,), (S,A) or (S,A,S); stored as (S,A), the last form averaged with P.
        discount: γ in [0, 1), as a scalar, (S,) or (S,A); 0 where an episode ends.
        temperature: τ > 0, in units of reward.
        initial: ρ (S,), the distribution of the first state.
        reference_policy: π_ref (S,A), nonnegative weights; an action of weight 0 is never taken,
            and derivatives in that weight are 0. None means all ones, which makes the regularizer
            the Shannon entropy.

    Raises:
        InvalidInputError: an argument has the wrong shape or an entry outside its range.

    Source: Yang, Gao, Yuan (2025), section 2.
    """

    transition: TransitionOperator
    reward: Float[Array, "S A"]
    discount: Float[Array, ""] | Float[Array, "S A"]
    temperature: Float[Array, ""]
    initial: Float[Array, "S"]
    reference_policy: Float[Array, "S A"] | None

    def __init__(
        self,
        transition: Checked[TransitionOperator],
        reward: Numbers,
        discount: Numbers,
        temperature: Checked[ArrayLike],
        initial: Numbers,
        reference_policy: Numbers | None = None,
    ):
        if not isinstance(transition, TransitionOperator):
            raise InvalidInputError(
                "transition: expected a transition operator such as sobirl.Dense(P), "
                f"got {type(transition).__name__}"
            )
        states, actions = transition.shape
        reward = reward_table(transition, reward)
        discount = discount_table(transition, discount)
        temperature = as_float_array(
            "temperature", temperature, "must be positive", lambda t: t > 0
        )
        check_shape("temperature", temperature, ())
        initial = _initial(initial, states)
        if reference_policy is not None:
            reference_policy = _reference(reference_policy, states, actions)
        # One precision for all, the highest that was given.
        fields = (transition, reward, discount, temperature, initial, reference_policy)
        floats, rest = eqx.partition(fields, eqx.is_inexact_array)
        dtype = jnp.result_type(*jax.tree.leaves(floats))
        fields = eqx.combine(jax.tree.map(lambda leaf: leaf.astype(dtype), floats), rest)
        self.transition, self.reward, self.discount = fields[:3]
        self.temperature, self.initial, self.reference_policy = fields[3:]

    @property
    def shape(self) -> tuple[int, int]:
        """(S, A)."""
        return self.transition.shape

    @property
    def log_reference(self) -> Float[Array, "S A"]:
        """log π_ref(a|s), -∞ for an action that is not allowed; zeros without a reference."""
        if self.reference_policy is None:
            return jnp.zeros_like(self.reward)
        allowed = self.reference_policy > 0
        # The inner `where` keeps the derivative of the log finite where it is not used.
        return jnp.where(allowed, jnp.log(jnp.where(allowed, self.reference_policy, 1.0)), -jnp.inf)

    def total_discount(self) -> Float[Array, "S A"]:
        """γ Σ_s' P(s'|s,a): γ, but for the rounding with which the rows of P sum to 1."""
        return self.discount * self.transition.expect(jnp.ones_like(self.initial))

    def shifted(
        self, shift: Float[Array, ""], total_discount: Float[Array, "S A"] | None = None
    ) -> "SoftMDP":
        """The MDP with reward r - (1 - γ)·shift: the same policy, and values lower by `shift`.

        `total_discount` saves its computation where it is known.
        """
        total_discount = self.total_discount() if total_discount is None else total_discount
        return eqx.tree_at(lambda m: m.reward, self, self.reward - (1 - total_discount) * shift)

    def action_value(self, value: Float[Array, "S"]) -> Float[Array, "S A"]:
        """Q(s,a) = r(s,a) + γ Σ_s' P(s'|s,a) V(s')."""
        return self.reward + self.discount * self.transition.expect(value)

    def soft_value(self, q: Float[Array, "S A"]) -> Float[Array, "S"]:
        """V(s) = τ log Σ_a π_ref(a|s) exp(Q(s,a)/τ)."""
        return self.temperature * logsumexp(self.log_reference + q / self.temperature, axis=-1)

    def log_policy(self, q: Float[Array, "S A"], value: Float[Array, "S"]) -> Float[Array, "S A"]:
        """log π(a|s) = log π_ref(a|s) + (Q(s,a) - V(s))/τ; sums to 1 if V is `soft_value(q)`."""
        return self.log_reference + (q - value[:, None]) / self.temperature

    def respond(self, value: Float[Array, "S"]) -> Response:
        """One Bellman backup at `value`: (T V, Q, log π), the policy normalized."""
        q = self.action_value(value)
        backed_up = self.soft_value(q)
        return Response(backed_up, q, self.log_policy(q, backed_up))

    def policy_system(
        self, policy: Float[Array, "S A"], discount: Float[Array, "..."] | None = None
    ) -> PolicySystem:
        """I - γP_π, the system of policy evaluation, with the MDP's own discount or another."""
        discount = self.discount if discount is None else discount
        return PolicySystem(
            self.transition, discount * policy, discount if discount.ndim == 0 else None
        )


def discount_table(
    transition: TransitionOperator, discount: Numbers, one_allowed: bool = False
) -> Float[Array, "..."]:
    """A discount given as a scalar, (S,) or (S,A), as a scalar or a table (S,A).

    Raises:
        InvalidInputError: another shape, or an entry outside [0, 1); 1 may be allowed.
    """
    states, actions = transition.shape
    requirement = "must lie in [0, 1]" if one_allowed else "must lie in [0, 1)"
    discount = as_float_array(
        "discount",
        discount,
        requirement,
        lambda d: (d >= 0) & ((d <= 1) if one_allowed else (d < 1)),
    )
    check_shape("discount", discount, (), (states,), (states, actions))
    if discount.ndim:
        return jnp.broadcast_to(discount.reshape(states, -1), (states, actions))
    return discount


def reward_table(transition: TransitionOperator, reward: Numbers) -> Float[Array, "S A"]:
    """A reward given as (S,), (S,A) or (S,A,S) as a table (S,A).

    Raises:
        InvalidInputError: another shape, or an entry that is not finite.
    """
    states, actions = transition.shape
    reward = as_float_array("reward", reward)
    check_shape("reward", reward, (states,), (states, actions), (states, actions, states))
    if reward.ndim == 1:
        return jnp.broadcast_to(reward[:, None], (states, actions))
    return transition.expect_reward(reward) if reward.ndim == 3 else reward


def _initial(initial: Numbers, states: int) -> Float[Array, "S"]:
    """ρ as an array, checked."""
    array = as_float_array(
        "initial", initial, "probabilities must not be negative", lambda p: p >= 0
    )
    check_shape("initial", array, (states,))
    if not isinstance(initial, jax.core.Tracer):
        total = np.asarray(initial).sum(dtype=np.float64)
        check("initial", total, np.abs(total - 1) <= 1e-5, "must sum to 1")
    return array


def _reference(reference_policy: Numbers, states: int, actions: int) -> Float[Array, "S A"]:
    """π_ref as an array, checked."""
    array = as_float_array(
        "reference_policy", reference_policy, "must not be negative", lambda p: p >= 0
    )
    check_shape("reference_policy", array, (states, actions))
    if not isinstance(reference_policy, jax.core.Tracer):
        sums = np.asarray(reference_policy).sum(axis=-1)
        check("reference_policy", sums, sums > 0, "each state needs an allowed action")
    return array
