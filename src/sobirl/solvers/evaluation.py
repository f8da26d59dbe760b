"""Policy evaluation: values, returns and occupancies of a given policy, all differentiable."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobirl.core.checks import Numbers, as_policy
from sobirl.core.errors import InvalidInputError
from sobirl.mdp.soft_mdp import SoftMDP, discount_table, reward_table
from sobirl.solvers.linear import LinearSolver, linear_solve


def policy_value(
    mdp: SoftMDP,
    policy: Float[Array | np.ndarray, "S A"],
    reward: Numbers | None = None,
    discount: Numbers | None = None,
    horizon: int | np.integer | None = None,
    regularized: bool = False,
    linear_solver: LinearSolver | None = None,
) -> Float[Array, "S"]:
    """The discounted sum of a reward from every state under a policy.

    Solves (I - γP_π) v = Σ_a π r; differentiable in the policy, the reward, the discount and P.

    Args:
        mdp: gives the transitions, and the defaults of reward and discount.
        policy: action probabilities (S,A).
        reward: (S,), (S,A) or (S,A,S), for example the leader's; the MDP's own by default.
        discount: scalar, (S,) or (S,A); the MDP's own by default. 1 is allowed with a horizon. A
            scalar replaces the MDP's zeros too: where episodes end, give (S,) or (S,A).
        horizon: number of steps; None is for ever.
        regularized: add the regularizer τ Σ_a π (log π_ref - log π), as the follower sees it.
        linear_solver: solves the system; by size and structure by default. NaN where it fails.

    Raises:
        InvalidInputError: wrong shapes, a discount outside [0, 1), or a horizon below 1.
    """
    policy, discount = _policy_and_discount(mdp, policy, discount, horizon)
    reward = mdp.reward if reward is None else reward_table(mdp.transition, reward)
    return _value(mdp, policy, reward, discount, _steps(horizon), bool(regularized), linear_solver)


def policy_return(
    mdp: SoftMDP,
    policy: Float[Array | np.ndarray, "S A"],
    reward: Numbers | None = None,
    discount: Numbers | None = None,
    horizon: int | np.integer | None = None,
    regularized: bool = False,
    linear_solver: LinearSolver | None = None,
) -> Float[Array, ""]:
    """The discounted return E[Σ_t γ^t r(s_t, a_t)] of a policy from the initial distribution.

    Arguments and errors as for `policy_value`.
    """
    value = policy_value(mdp, policy, reward, discount, horizon, regularized, linear_solver)
    return mdp.initial @ value


def occupancy(
    mdp: SoftMDP,
    policy: Float[Array | np.ndarray, "S A"],
    discount: Numbers | None = None,
    horizon: int | np.integer | None = None,
    linear_solver: LinearSolver | None = None,
) -> Float[Array, "S A"]:
    """The discounted occupancy d(s,a) = E[Σ_t γ^t 1[s_t = s, a_t = a]], not normalized.

    Solves (I - γP_π)ᵀ d = ρ. With a uniform discount and no horizon it sums to 1/(1 - γ), and
    ⟨d, r⟩ is the return of r. Differentiable. Arguments and errors as for `policy_value`.
    """
    policy, discount = _policy_and_discount(mdp, policy, discount, horizon)
    return _occupancy(mdp, policy, discount, _steps(horizon), linear_solver)


# Compiled, as `solve` is: outside of a user's `jit` every call would compile its loops anew.
@eqx.filter_jit
def _value(mdp, policy, reward, discount, steps, regularized, linear_solver):
    gain = jnp.sum(policy * reward, axis=-1)
    if regularized:
        # 0 log 0 = 0, with a finite derivative, also where the reference forbids the action.
        taken = policy > 0
        log_policy = jnp.log(jnp.where(taken, policy, 1.0))
        log_reference = jnp.where(taken, mdp.log_reference, 0.0)
        gain = gain + mdp.temperature * jnp.sum(policy * (log_reference - log_policy), axis=-1)
    system = mdp.policy_system(policy, discount)
    if steps is None:
        return linear_solve(system, gain, solver=linear_solver)
    return _repeat(lambda v: gain + v - system.mv(v), jnp.zeros_like(gain), steps)


@eqx.filter_jit
def _occupancy(mdp, policy, discount, steps, linear_solver):
    system = mdp.policy_system(policy, discount)
    if steps is None:
        visits = linear_solve(system, mdp.initial, transposed=True, solver=linear_solver)
    else:
        start = jnp.zeros_like(mdp.initial)
        visits = _repeat(lambda d: mdp.initial + d - system.rmv(d), start, steps)
    return visits[:, None] * policy


def _policy_and_discount(mdp: SoftMDP, policy, discount, horizon):
    """Both as arrays, checked; traced discounts out of their range become NaN."""
    array = as_policy("policy", policy, mdp.shape)
    if discount is None:
        return array, mdp.discount
    discount = discount_table(mdp.transition, discount, one_allowed=horizon is not None)
    inside = (discount >= 0) & ((discount < 1) | ((discount <= 1) & (horizon is not None)))
    return array, jnp.where(inside, discount, jnp.nan)


def _steps(horizon) -> int | None:
    """The horizon as Python's whole number, checked."""
    if horizon is None:
        return None
    if not isinstance(horizon, (int, np.integer)) or horizon < 1:
        raise InvalidInputError(f"horizon: must be a whole number, at least 1; got {horizon}")
    return int(horizon)


def _repeat(step, start, steps):
    return jax.lax.scan(lambda x, _: (step(x), None), start, None, length=steps)[0]
