"""What environments went through, step by step."""

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree, Shaped


class Steps(eqx.Module):
    """T records of each of N environments, with an episode's last observation in its own record.

    Where an episode ends with the step of record t, record t+1 holds its final observation and no
    step, and record t+2 is the first of the next episode.

    Attributes:
        observation: one frame a record (N,T,*obs).
        action: (N,T), or (N,T,d) for continuous ones; means nothing where no step was taken.
        reward: the environment's own reward (N,T), which only simulated teachers look at.
        terminated: whether the episode ended with this step (N,T).
        truncated: whether it was cut off after this step, as by a time limit (N,T).
        live: whether a step was taken (N,T).
        log_prob: log-probability of the action under the policy that took it (N,T).
        state: the environment's own state before the step, every leaf (N,T,...); None where the
            environments cannot be set to a state, or nobody asked for it.
        leader_reward: what the step was worth to a leader (N,T); None where nobody says.
    """

    observation: Shaped[Array | np.ndarray, "N T *obs"]
    action: Shaped[Array | np.ndarray, "N T *act"]
    reward: Float[Array | np.ndarray, "N T"]
    terminated: Bool[Array | np.ndarray, "N T"]
    truncated: Bool[Array | np.ndarray, "N T"]
    live: Bool[Array | np.ndarray, "N T"]
    log_prob: Float[Array | np.ndarray, "N T"]
    state: PyTree = None
    leader_reward: Float[Array | np.ndarray, "N T"] | None = None
