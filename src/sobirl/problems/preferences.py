"""Preferences: learn a reward from comparisons of trajectories that the learner itself makes.

The smallest model of reinforcement learning from human feedback. A teacher with the true reward
r̂ compares two trajectories of H steps of the follower's current policy, which is optimal for the
learned reward r_x = Φx; the loss is the cross-entropy of the Bradley-Terry model:

    f(x, π) = E_{d_1,d_2 ~ π}[-q log σ(z) - (1 - q) log σ(-z)],   z = Σ_h r_x(d_1) - Σ_h r_x(d_2)

with q = σ(Σ_h r̂(d_1) - Σ_h r̂(d_2)), the teacher's own randomness averaged. The data follow the
policy and so x: the part of the hyper-gradient that plain RLHF leaves out.

Source: Yang, Gao, Yuan (2025), section 2.2; Christiano et al. (2017).
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobirl.bilevel import BilevelProblem
from sobirl.hypergrad import Trajectories, TrajectoryLoss
from sobirl.mdp import Dense, SoftMDP
from sobirl.prefs import preference_logit, preference_loss, preference_probability
from sobirl.problems.random_mdp import random_transitions


class Preferences(eqx.Module):
    """An instance.

    Attributes:
        transition: P (S,A,S).
        features: Φ (S,A,n).
        truth: the teacher's reward r̂ (S,A).
        horizon: H, the length of what is compared.
        discount: discount γ.
        temperature: temperature τ.
    """

    transition: np.ndarray
    features: np.ndarray
    truth: np.ndarray
    horizon: int = 5
    discount: float = 0.8
    temperature: float = 0.5

    @classmethod
    def generate(
        cls,
        states: int = 6,
        actions: int = 3,
        dimension: int = 4,
        horizon: int = 5,
        seed: int = 0,
    ) -> "Preferences":
        """A random instance with S states, A actions and x in R^n."""
        rng = np.random.default_rng(seed)
        return cls(
            transition=random_transitions(rng, states, actions),
            features=rng.standard_normal((states, actions, dimension)),
            truth=rng.standard_normal((states, actions)),
            horizon=horizon,
        )

    def problem(self) -> BilevelProblem:
        """The bilevel problem over x (n,)."""
        objective = TrajectoryLoss(self.follower, self.loss, self.horizon, num_trajectories=2)
        return BilevelProblem(self.follower, objective)

    def follower(self, x: Float[Array | np.ndarray, "n"]) -> SoftMDP:
        """The soft MDP with reward Φx."""
        states = len(self.transition)
        return SoftMDP(
            transition=Dense(self.transition),
            reward=self.features @ x,
            discount=self.discount,
            temperature=self.temperature,
            initial=np.full(states, 1 / states),
        )

    def loss(self, x: Float[Array | np.ndarray, "n"], pair: Trajectories) -> Float[Array, ""]:
        """The cross-entropy of the learned preference relative to the teacher's."""
        answer = preference_probability(_logit(jnp.asarray(self.truth), pair))
        return preference_loss(_logit(jnp.asarray(self.features) @ x, pair), answer)


def _logit(reward: Float[Array, "S A"], pair: Trajectories) -> Float[Array, ""]:
    """The log-odds that the first trajectory is preferred: how much more reward it has."""
    return preference_logit(*reward[pair.state, pair.action].sum(axis=-1))
