"""Policy evaluation: values, returns and occupancies of a given policy, all differentiable."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobirl.core.checks import as_float_array, check_shape
from sobirl.core.errors import InvalidInputError
from sobirl.mdp.soft_mdp import SoftMDP, reward_table
from sobirl.solve.linear import linear_solve


def policy_value(
    mdp: SoftMDP,
    policy: Float[Array | np.ndarray, "S A"],
    reward=None,
    discount=None,
    horizon: int | None = None,
    regularized: bool = False,
) -> Float[Array, "S"]:
    """The discounted sum of a reward from every state under a policy.

    Solves (I - γP_π) v = Σ_a π r; differentiable in the policy, the reward, the discount and P.

    Args:
        mdp: gives the transitions, and the defaults of reward and discount.
        policy: action probabilities (S,A).
        reward: (S,), (S,A) or (S,A,S), for example the leader's; the MDP's own by default.
        discount: scalar, (S,) or (S,A); the MDP's own by default. 1 is allowed with a horizon.
        horizon: number of steps; None is for ever.
        regularized: add the regularizer τ Σ_a π (log π_ref - log π), as the follower sees it.

    Raises:
        InvalidInputError: wrong shapes, a discount outside [0, 1), or a horizon below 1.
    """
    policy, discount = _policy_and_discount(mdp, policy, discount, horizon)
    reward = mdp.reward if reward is None else reward_table(mdp.transition, reward)
    gain = jnp.sum(policy * reward, axis=-1)
    if regularized:
        # 0 log 0 = 0, with a finite derivative, also where the reference forbids the action.
        taken = policy > 0
        log_policy = jnp.log(jnp.where(taken, policy, 1.0))
        log_reference = jnp.where(taken, mdp.log_reference, 0.0)
        gain = gain + mdp.temperature * jnp.sum(policy * (log_reference - log_policy), axis=-1)
    matrix = mdp.policy_matrix(policy, discount)
    if horizon is None:
        return linear_solve(jnp.eye(len(gain), dtype=gain.dtype) - matrix, gain)
    return _repeat(lambda v: gain + matrix @ v, jnp.zeros_like(gain), horizon)


def policy_return(
    mdp: SoftMDP,
    policy: Float[Array | np.ndarray, "S A"],
    reward=None,
    discount=None,
    horizon: int | None = None,
    regularized: bool = False,
) -> Float[Array, ""]:
    """The discounted return E[Σ_t γ^t r(s_t, a_t)] of a policy from the initial distribution.

    Arguments and errors as for `policy_value`.
    """
    return mdp.initial @ policy_value(mdp, policy, reward, discount, horizon, regularized)


def occupancy(
    mdp: SoftMDP,
    policy: Float[Array | np.ndarray, "S A"],
    discount=None,
    horizon: int | None = None,
) -> Float[Array, "S A"]:
    """The discounted occupancy d(s,a) = E[Σ_t γ^t 1[s_t = s, a_t = a]], not normalized.

    Solves (I - γP_π)ᵀ d = ρ. With a uniform discount and no horizon it sums to 1/(1 - γ), and
    ⟨d, r⟩ is the return of r. Differentiable. Arguments and errors as for `policy_value`.
    """
    policy, discount = _policy_and_discount(mdp, policy, discount, horizon)
    matrix = mdp.policy_matrix(policy, discount)
    if horizon is None:
        identity = jnp.eye(len(matrix), dtype=matrix.dtype)
        visits = linear_solve(identity - matrix, mdp.initial, transposed=True)
    else:
        start = jnp.zeros_like(mdp.initial)
        visits = _repeat(lambda d: mdp.initial + d @ matrix, start, horizon)
    return visits[:, None] * policy


def _policy_and_discount(mdp: SoftMDP, policy, discount, horizon: int | None):
    states, actions = mdp.shape
    policy = as_float_array("policy", policy)
    check_shape("policy", policy, mdp.shape)
    if discount is None:
        return policy, mdp.discount
    if horizon is None:
        range_, inside = "must lie in [0, 1) without a horizon", lambda d: (d >= 0) & (d < 1)
    else:
        range_, inside = "must lie in [0, 1]", lambda d: (d >= 0) & (d <= 1)
    discount = as_float_array("discount", discount, range_, inside)
    check_shape("discount", discount, (), (states,), (states, actions))
    return policy, discount[:, None] if discount.ndim == 1 else discount


def _repeat(step, start, horizon: int):
    if not isinstance(horizon, int) or horizon < 1:
        raise InvalidInputError(f"horizon: must be a whole number, at least 1; got {horizon}")
    return jax.lax.scan(lambda x, _: (step(x), None), start, None, length=horizon)[0]
