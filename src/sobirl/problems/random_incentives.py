"""Random incentives: a leader with a reward of its own, and a follower in a random MDP.

    follower   r_x(s,a) = Φ(s,a)·x, temperature τ, discount γ
    leader     maximizes E[Σ_t γ_u^t (r_u(s_t,a_t) - cost · r_x(s_t,a_t)²)]

with Gaussian Φ and r_u: what it pays moves the follower and costs the leader. With
`steers_transitions`, x has a second part that tilts P. A small problem for every method that
follows trajectories.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobirl.bilevel import BilevelProblem
from sobirl.hypergrad import LeaderReturn
from sobirl.mdp import Dense, SoftMDP
from sobirl.problems.random_mdp import random_transitions


class RandomIncentives(eqx.Module):
    """An instance.

    Attributes:
        transition: P (S,A,S).
        features: Φ (S,A,n).
        leader: r_u (S,A).
        tilt: the direction in which x["tilt"] changes log P (S,A,S), if it does.
        discount: the follower's discount γ.
        leader_discount: the leader's discount γ_u.
        temperature: temperature τ.
        cost: what squared rewards cost the leader.
    """

    transition: np.ndarray
    features: np.ndarray
    leader: np.ndarray
    tilt: np.ndarray | None = None
    discount: float = 0.8
    leader_discount: float = 0.7
    temperature: float = 0.5
    cost: float = 0.1

    @classmethod
    def generate(
        cls,
        states: int = 6,
        actions: int = 3,
        dimension: int = 4,
        seed: int = 0,
        steers_transitions: bool = False,
    ) -> "RandomIncentives":
        """A random instance with S states, A actions and incentives in R^n."""
        rng = np.random.default_rng(seed)
        return cls(
            transition=random_transitions(rng, states, actions),
            features=rng.standard_normal((states, actions, dimension)),
            leader=rng.standard_normal((states, actions)),
            tilt=rng.standard_normal((states, actions, states)) if steers_transitions else None,
        )

    def problem(self) -> BilevelProblem:
        """The bilevel problem over {"pay": (n,)}, and "tilt": () if x steers the transitions."""
        return BilevelProblem(
            self.follower, LeaderReturn(self.follower, self.leader_reward, self.leader_discount)
        )

    def x0(self) -> dict[str, Float[Array, "..."]]:
        """A first x: small incentives and a small tilt."""
        x = {"pay": jnp.full(self.features.shape[-1], 0.3)}
        return x if self.tilt is None else {**x, "tilt": jnp.array(0.2)}

    def follower(self, x: dict[str, Any]) -> SoftMDP:
        """The follower's soft MDP."""
        transition = self.transition
        if self.tilt is not None:
            weights = transition * jnp.exp(x["tilt"] * self.tilt)
            transition = weights / jnp.sum(weights, axis=-1, keepdims=True)
        states = len(self.transition)
        return SoftMDP(
            transition=Dense(transition),
            reward=self.features @ x["pay"],
            discount=self.discount,
            temperature=self.temperature,
            initial=np.full(states, 1 / states),
        )

    def leader_reward(self, x: dict[str, Any]) -> Float[Array | np.ndarray, "S A"]:
        """The leader's reward."""
        return self.leader - self.cost * (self.features @ x["pay"]) ** 2
