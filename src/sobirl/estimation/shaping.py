"""What no demonstrations tell of a reward: potentials."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sobirl.core.errors import InvalidInputError
from sobirl.mdp import SoftMDP


def shaped(
    mdp: SoftMDP, reward: Float[np.ndarray, "S A"], like: Float[np.ndarray, "S A"]
) -> Float[np.ndarray, "S A"]:
    """r(s,a) + γ E h(s') - h(s) with the potential h that brings it nearest to another reward.

    All of these have the same policy, so that no demonstrations can tell them apart; the distance
    that is left is what was not recovered. Actions that are not allowed count for nothing.

    Args:
        mdp: whose transitions and discount count; with at most 2000 states.
        reward: r.
        like: the other one.

    Raises:
        InvalidInputError: too many states for a dense least-squares problem.

    Source: Ng, Harada, Russell, ICML 1999.
    """
    states = mdp.shape[0]
    if states > 2000:
        raise InvalidInputError(f"mdp: shaping needs at most 2000 states, got {states}")
    moves = jax.vmap(lambda h: mdp.discount * mdp.transition.expect(h) - h[:, None])(
        jnp.eye(states)
    )
    moves = np.asarray(moves)  # (S,S,A): by potential, state, action
    allowed = np.ones(mdp.shape, bool)
    if mdp.reference_policy is not None:
        allowed = np.asarray(mdp.reference_policy) > 0
    basis = moves[:, allowed]
    gap = (np.asarray(like) - np.asarray(reward))[allowed]
    potential = np.linalg.lstsq(basis @ basis.T, basis @ gap, rcond=1e-12)[0]
    return np.asarray(reward) + np.einsum("h,hsa->sa", potential, moves)
