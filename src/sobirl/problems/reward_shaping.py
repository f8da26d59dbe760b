"""Reward shaping: hints for a follower that looks too few steps ahead to find the goal.

A walker crosses the map of Four Rooms from one corner room to a goal three rooms away. Reaching it
pays 1 and ends the episode; nothing else pays. The leader counts with γ_u = 0.99, for which the
goal is worth the way. The walker has γ = 0.7: twenty steps away 1 is worth 10^-3, far below its
temperature, and it wanders. The leader may add to its reward

    free        F(s,a) = x(s)                     what a cell pays, |x| ≤ bound
    potential   F(s,a) = γ_u E Φ(s') - Φ(s)       Φ = x, and 0 at the goal
    own         F(s,a) = γ E Φ(s') - Φ(s)         the same with the walker's discount

and maximizes E Σ γ_u^t 1[s_t = goal], which no hint enters: the explicit gradient is 0.

The last form changes no policy whatever Φ is (Ng, Harada, Russell 1999): it moves V by -Φ, and the
hyper-gradient vanishes. With the leader's discount it leaves (γ_u - γ) E Φ(s') beside such a term,
and so lends the walker the leader's view of what lies ahead.

Source: shaping as a bilevel problem, Hu et al. (2020); potentials, Ng, Harada, Russell (1999). The
instance is ours.
"""

import dataclasses
import functools
from typing import Literal, get_args

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobirl.bilevel import BilevelProblem
from sobirl.core.errors import InvalidInputError
from sobirl.hypergrad import LeaderReturn
from sobirl.mdp import SoftMDP, SuccessorList
from sobirl.problems.four_rooms import cells, moves, state_of

START = (4, 1)
GOAL = (11, 11)
INTENDED = 0.85
LEADER_DISCOUNT = 0.99

Form = Literal["free", "potential", "own"]


@dataclasses.dataclass(frozen=True)
class RewardShaping:
    """An instance; x (104,) is a number a cell.

    Args:
        form: what x means, see above.
        discount: the walker's γ, below the leader's 0.99 for a short horizon.
        temperature: the walker's entropy weight τ, in units of the goal's reward.

    Raises:
        InvalidInputError: another form, a discount outside [0, 1), or a temperature of 0 or less.
    """

    form: str = "potential"
    discount: float = 0.7
    temperature: float = 0.01

    def __post_init__(self):
        if self.form not in get_args(Form):
            raise InvalidInputError(
                f"form: must be one of {', '.join(get_args(Form))}; got {self.form!r}"
            )
        if not 0 <= self.discount < 1:
            raise InvalidInputError(f"discount: must lie in [0, 1), got {self.discount:g}")
        if not self.temperature > 0:
            raise InvalidInputError(f"temperature: must be positive, got {self.temperature:g}")

    def problem(self) -> BilevelProblem:
        """The bilevel problem over x (104,)."""
        walker = self.walker
        at_goal = np.asarray(walker.at_goal)
        discount = np.where(at_goal, 0.0, LEADER_DISCOUNT)
        objective = LeaderReturn(walker.follower, walker.leader_reward, discount)
        return BilevelProblem(walker.follower, objective)

    def x0(self) -> Float[Array, "104"]:
        """No hints."""
        return jnp.zeros(len(cells()))

    @functools.cached_property
    def walker(self) -> "Walker":
        """The walker with these constants."""
        return Walker(self)


class Walker(eqx.Module):
    """The walker and the leader; the arrays are leaves, as in `four_rooms.Walk`."""

    transition: SuccessorList
    at_goal: Float[Array, "104"]
    initial: Float[Array, "104"]
    discount: Float[Array, ""]
    temperature: Float[Array, ""]
    form: str = eqx.field(static=True)

    def __init__(self, shaping: RewardShaping):
        units = np.eye(len(cells()))
        self.transition = SuccessorList(*moves(INTENDED))
        self.at_goal = jnp.asarray(units[state_of(GOAL)])
        self.initial = jnp.asarray(units[state_of(START)])
        self.discount = jnp.asarray(shaping.discount, float)
        self.temperature = jnp.asarray(shaping.temperature, float)
        self.form = shaping.form

    def follower(self, x: Float[Array, "104"]) -> SoftMDP:
        """The walker's soft MDP with the hints."""
        return SoftMDP(
            transition=self.transition,
            reward=self.at_goal[:, None] + self.hints(x),
            discount=self.discount * (1 - self.at_goal),
            temperature=self.temperature,
            initial=self.initial,
        )

    def hints(self, x: Float[Array, "104"]) -> Float[Array, "104 4"]:
        """F(s,a); nothing at the goal, where no choice is left."""
        away = 1 - self.at_goal
        if self.form == "free":
            return jnp.broadcast_to((away * x)[:, None], self.transition.shape)
        potential = away * x
        discount = self.discount if self.form == "own" else LEADER_DISCOUNT
        return away[:, None] * (discount * self.transition.expect(potential) - potential[:, None])

    def leader_reward(self, x: Float[Array, "104"]) -> Float[Array, "104"]:
        """1 at the goal."""
        return self.at_goal
