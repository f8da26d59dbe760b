"""Goal position: where to put a goal, so that the way to it does what the leader wants.

A walker starts in a corner of an open grid and is drawn to a goal x, any point of the square: a
step from cell s costs the squared distance to it. It goes first where it is farther off, and so the
goal decides the way. The leader earns 1 a step in the plaza, and pays where the way leads through
the garden between; it puts the goal.

    follower   r(s) = -‖s - x‖² / (N - 1)²,  γ = 0.95,  the intended move with probability 0.9
    leader     maximizes (1 - γ) E Σ γ^t (1[s_t in the plaza] - 2 · 1[s_t in the garden])

With a follower that is nearly greedy φ is a landscape of terraces, whose hyper-gradient says next
to nothing; with a soft one it is smooth, and wrong. The temperature has to vanish on the way.

Source: the problem is that of Zeng, Bhatt, Ganesh, Koppel (2026), whose constants are not public;
these are ours.
"""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobirl.bilevel import BilevelProblem
from sobirl.core.checks import check_number
from sobirl.hypergrad import LeaderReturn
from sobirl.mdp import SoftMDP, SuccessorList

DISCOUNT = 0.95
INTENDED = 0.9
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))  # up, right, down, left, stay
GARDEN_PRICE = 2.0


@dataclasses.dataclass(frozen=True)
class GoalPosition:
    """An instance; x (2,) is the goal's row and column.

    Args:
        size: cells on a side, N.
        temperature: the walker's entropy weight τ, in units of the cost of a whole side.

    Raises:
        InvalidInputError: fewer than 6 cells on a side, or a temperature of 0 or less.
    """

    size: int = 10
    temperature: float = 0.001

    def __post_init__(self):
        check_number("size", self.size, "must be at least 6", lambda n: n >= 6)
        check_number("temperature", self.temperature, "must be positive", lambda t: t > 0)

    def problem(self) -> BilevelProblem:
        """The bilevel problem over x (2,)."""
        objective = LeaderReturn(self.walker.follower, self.walker.leader_reward)
        return BilevelProblem(self.walker.follower, objective)

    def x0(self) -> Float[Array, "2"]:
        """The corner of the plaza that the walker comes to first."""
        return jnp.full(2, self.size - 3.0)

    @functools.cached_property
    def plaza(self) -> np.ndarray:
        """Which cells (N,N) pay the leader: three by three, in the corner across."""
        cells = np.zeros((self.size, self.size), bool)
        cells[-3:, -3:] = True
        return cells

    @functools.cached_property
    def garden(self) -> np.ndarray:
        """Which cells (N,N) cost the leader: about the middle, and above it."""
        cells = np.zeros((self.size, self.size), bool)
        cells[2 : self.size - 3, self.size // 3 : 2 * self.size // 3 + 1] = True
        return cells

    @functools.cached_property
    def walker(self) -> "Walker":
        """The walker with these constants."""
        with jax.ensure_compile_time_eval():  # it is kept, also where it is asked for inside `jit`
            return Walker(self)


class Walker(eqx.Module):
    """The walker and the leader; the arrays are leaves, as in `four_rooms.Walk`."""

    transition: SuccessorList
    places: Float[Array, "S 2"]
    pay: Float[Array, "S"]
    temperature: Float[Array, ""]
    size: int = eqx.field(static=True)

    def __init__(self, instance: GoalPosition):
        size = instance.size
        places = np.indices((size, size)).reshape(2, -1).T
        ends = np.clip(places[:, None] + np.array(MOVES), 0, size - 1) @ [size, 1]
        slip = (1 - INTENDED) / (len(MOVES) - 1)
        chances = np.where(np.eye(len(MOVES), dtype=bool), INTENDED, slip)
        shape = (size**2, len(MOVES), len(MOVES))
        self.transition = SuccessorList(
            np.broadcast_to(ends[:, None], shape), np.broadcast_to(chances, shape)
        )
        self.places = jnp.asarray(places, float)
        pay = instance.plaza.astype(float) - GARDEN_PRICE * instance.garden
        self.pay = jnp.asarray((1 - DISCOUNT) * pay.ravel())
        self.temperature = jnp.asarray(instance.temperature, float)
        self.size = size

    def follower(self, x: Float[Array, "2"]) -> SoftMDP:
        """The walker's soft MDP with the goal at x."""
        distance = jnp.sum((self.places - x) ** 2, axis=-1)
        return SoftMDP(
            transition=self.transition,
            reward=-distance / (self.size - 1) ** 2,
            discount=DISCOUNT,
            temperature=self.temperature,
            initial=np.eye(1, self.size**2)[0],
        )

    def leader_reward(self, x: Float[Array, "2"]) -> Float[Array, "S"]:
        """What a step in every cell earns."""
        return self.pay
