"""Trajectories: whole episodes of a policy, or their beginnings, that were made for an estimate."""

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, Num


class Trajectories(eqx.Module):
    """N trajectories from the beginning of an episode on, of T steps at most.

    Attributes:
        observation: s_t, its frames stacked (N,T,*obs).
        action: a_t, indices or numbers from -1 to 1 (N,T,*d).
        next_observation: s_{t+1} (N,T,*obs).
        reward: the environment's own (N,T).
        mask: whether a step belongs to the episode (N,T).
        ended: whether the episode ended within them, also by a time limit (N,).
        leader_reward: what a step was worth to a leader (N,T); None where environments do not say.
        terminated: whether the episode reached an end of the environment's own with a step (N,T);
            None where nobody says.
    """

    observation: Num[Array | np.ndarray, "N T *obs"]
    action: Num[Array | np.ndarray, "N T *d"]
    next_observation: Num[Array | np.ndarray, "N T *obs"]
    reward: Float[Array | np.ndarray, "N T"]
    mask: Bool[Array | np.ndarray, "N T"]
    ended: Bool[Array | np.ndarray, "N"]
    leader_reward: Float[Array | np.ndarray, "N T"] | None = None
    terminated: Bool[Array | np.ndarray, "N T"] | None = None
