"""A fleet: K machines of Rust's kind, one service bay, and what the workshop may charge.

Every month each machine k = 1..K of a depot costs c(s_k) = 0.001 θ₁ d s_k and wears on; s_k =
0..M-1 is its wear in steps of d of Rust's mileage bins. One bay is all there is: the depot sends
one machine there and pays the price of its wear, or none.

    action 0:  reward -Σ_i c(s_i)                   every s_i moves on by j with probability p_j/d
    action k:  reward -Σ_{i≠k} c(s_i) - x_b(s_k)    s_k does so from 0

With extreme-value shocks of scale 1 to these rewards the depot follows the policy π of a soft MDP
with M^K states and K + 1 actions, τ = 1, γ = 0.9999. The leader is the workshop. It sets the prices
x_b of machines in wear band b, and its income a month is

    F(x) = (1 - γ) E[Σ_t γ^t 1[a_t = k > 0] (x_b(s_k) - service_cost)]

θ₁, p and the price at the start, Rust's RC, are the estimates for Rust's bus group 4. With d = 1,
M = 90 and K = 1 the depot is Rust's superintendent. `service_cost` and the bands are ours.

Source: Rust, Optimal Replacement of GMC Bus Engines, Econometrica 55 (1987), table IX.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sobirl.bilevel import BilevelProblem
from sobirl.core.errors import InvalidInputError
from sobirl.hypergrad import LeaderReturn
from sobirl.mdp import Product, SoftMDP, SuccessorList
from sobirl.problems.rust_bus import GROUP4_PROBABILITIES
from sobirl.problems.rust_costs import COSTS, DISCOUNT, GROUP4_ESTIMATES, STATES

RUST_PRICE, (THETA,) = GROUP4_ESTIMATES["linear"]


@dataclasses.dataclass(frozen=True)
class Fleet:
    """An instance.

    Attributes:
        machines: K.
        wear_states: M. Up to 90 they stand for Rust's 90 bins, coarser; more are further bins.
        bands: how many wear bands have prices of their own.
        service_cost: what a service costs the workshop, in units of the shocks' scale.
        discount: γ, of the depot and of the workshop.

    Raises:
        InvalidInputError: a number is out of its range.
    """

    machines: int = 2
    wear_states: int = 15
    bands: int = 5
    service_cost: float = 5.0
    discount: float = DISCOUNT

    def __post_init__(self):
        requirements = {
            "machines": (self.machines >= 1, "must be at least 1"),
            "wear_states": (self.wear_states >= 3, "must be at least 3"),
            "bands": (
                1 <= self.bands <= self.wear_states,
                f"must be 1 to {self.wear_states}, the wear states",
            ),
            "service_cost": (np.isfinite(self.service_cost), "must be finite"),
            "discount": (0 <= self.discount < 1, "must lie in [0, 1)"),
        }
        for name, (holds, requirement) in requirements.items():
            if not holds:
                raise InvalidInputError(f"{name}: {requirement}, got {getattr(self, name)}")

    @property
    def bins(self) -> float:
        """d: Rust's mileage bins in a step of wear."""
        return max(1.0, STATES / self.wear_states)

    @property
    def costs(self) -> Float[np.ndarray, "M"]:
        """c(s), what a machine costs in a month without service."""
        (scale,) = COSTS["linear"].scales
        return scale * THETA * self.bins * np.arange(self.wear_states)

    @property
    def band(self) -> Int[np.ndarray, "M"]:
        """The wear band of each state of a machine: bands of equal width."""
        return np.arange(self.wear_states) * self.bands // self.wear_states

    @property
    def transition(self) -> Product:
        """K independent machines with the actions run on (0) and service (1), at most one of 1."""
        wear, step = np.arange(self.wear_states)[:, None], np.arange(len(GROUP4_PROBABILITIES))
        run_on = np.minimum(wear + step, self.wear_states - 1)
        successors = np.stack([run_on, np.broadcast_to(step, run_on.shape)], axis=1)
        further = GROUP4_PROBABILITIES[1:] / self.bins
        chances = np.array([1 - further.sum(), *further])
        machine = SuccessorList(successors, np.broadcast_to(chances, successors.shape))
        service = np.eye(self.machines + 1, self.machines, -1, dtype=int)
        return Product([machine] * self.machines, service)

    def problem(self) -> BilevelProblem:
        """The bilevel problem over the prices (bands,): minus the income is minimized."""
        return BilevelProblem(
            self.follower,
            LeaderReturn(self.follower, self.leader_reward),
        )

    def x0(self) -> Float[Array, "bands"]:
        """What Rust's company paid, whatever the wear."""
        return jnp.full(self.bands, RUST_PRICE)

    def follower(self, x: Float[Array, "bands"]) -> SoftMDP:
        """The depot's soft MDP; all machines are new at first."""
        costs = self.by_machine(jnp.asarray(self.costs))
        total = jnp.sum(costs, axis=1, keepdims=True)
        service = costs - self.by_machine(x[self.band])
        return SoftMDP(
            transition=self.transition,
            reward=jnp.concatenate([-total, service - total], axis=1),
            discount=self.discount,
            temperature=1.0,
            initial=jnp.zeros(len(total)).at[0].set(1.0),
        )

    def leader_reward(self, x: Float[Array, "bands"]) -> Float[Array, "S A"]:
        """The workshop's (1 - γ)(x_b(s_k) - service_cost) for every service."""
        margin = self.by_machine(x[self.band] - self.service_cost)
        nothing = jnp.zeros((len(margin), 1))
        return (1 - self.discount) * jnp.concatenate([nothing, margin], axis=1)

    def by_machine(self, table: Float[Array, "M"]) -> Float[Array, "S K"]:
        """What a table of one machine's wear says of each machine, in every joint state."""
        sizes = (self.wear_states,) * self.machines
        grids = [
            table.reshape([-1 if own == machine else 1 for own in range(self.machines)])
            for machine in range(self.machines)
        ]
        return jnp.stack([jnp.broadcast_to(grid, sizes).ravel() for grid in grids], axis=1)
