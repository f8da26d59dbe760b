"""Maze: tolls that lead walkers around a quiet quarter, on a grid of any size.

Walkers enter a square maze on its left side and leave it at the goal, a cell on the right. A
quarter in the middle is to be quiet. The leader may take tolls, so much a step in every block of
cells, and wants that as few walkers as possible ever come into the quiet quarter; the tolls of all
blocks together have a limit. Walkers see the tolls and choose their ways anew:

    follower   r_x(s) = -(1 + x_block(s)), 0 at the goal, which is never left; temperature τ, γ
    leader     minimizes P(a walker comes into the quiet quarter)

A step goes where it was meant to with probability 1 - slip, and else to either side; into a wall
means staying. x enters the walkers' reward alone, and what the leader wants depends on their ways
alone: the explicit gradient is 0, and only the hyper-gradient says where a toll helps.

The probability is a return: 1 on the first step into the quarter, which ends the count, as the goal
does. Its discount is so near 1 that nothing else ends it.
"""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy import ndimage

from sobirl.bilevel import BilevelProblem
from sobirl.core.errors import InvalidInputError
from sobirl.hypergrad import LeaderReturn
from sobirl.mdp import SoftMDP, SuccessorList

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left
SMALLEST = 4
# The share of the maze's width that the quiet quarter takes, in the middle of it.
_QUIET = 0.4
# A discount under which every walker counts: one in a million is lost a step.
_ALL_COUNT = 1 - 1e-6


@dataclasses.dataclass(frozen=True)
class Maze:
    """An instance.

    Attributes:
        free: the cells that are no walls (N,N), all connected; states are these in reading order.
        blocks: blocks on a side, of a toll each, n.
        slip: probability that a step goes to the side, half to either one.
        discount: the walkers' discount γ.
        temperature: the walkers' temperature τ, in units of a step's cost.
    """

    free: np.ndarray
    blocks: int = 20
    slip: float = 0.2
    discount: float = 0.9999
    temperature: float = 0.2

    @classmethod
    def generate(
        cls, size: int = 20, walls: float = 0.25, seed: int = 0, blocks: int = 20, **more: float
    ) -> "Maze":
        """A random maze, of which the largest connected part is kept.

        Args:
            size: N, cells on a side.
            walls: the share of cells that become walls, before what cannot be reached does too.
            seed: seed of the walls.
            blocks: blocks on a side, at most N.
            more: slip, discount and temperature.

        Raises:
            InvalidInputError: a number out of its range, or walls that leave no way across.
        """
        if size < SMALLEST:
            raise InvalidInputError(f"size: must be at least {SMALLEST}, got {size}")
        if not 0 <= walls < 1:
            raise InvalidInputError(f"walls: must lie in [0, 1), got {walls:g}")
        if not 1 <= blocks <= size:
            raise InvalidInputError(f"blocks: must lie in 1..{size}, the size; got {blocks}")
        if not 0 <= (slip := more.get("slip", cls.slip)) < 1:
            raise InvalidInputError(f"slip: must lie in [0, 1), got {slip:g}")
        free = np.random.default_rng(seed).random((size, size)) >= walls
        parts, count = ndimage.label(free)
        if count:
            free = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
        maze = cls(free, blocks, **more)
        if not (free[:, 0].any() and free[:, -1].any() and (free & maze.is_quiet).any()):
            raise InvalidInputError(
                f"walls: a share of {walls:g} leaves no way from the left through the middle to "
                f"the right of this maze (size {size}, seed {seed}); take a smaller one"
            )
        return maze

    def problem(self) -> BilevelProblem:
        """The bilevel problem over tolls x ≥ 0 (n,n)."""
        walk = self.walk
        objective = LeaderReturn(walk.follower, walk.leader_reward, walk.leader_discount)
        return BilevelProblem(walk.follower, objective)

    def x0(self) -> Float[Array, "n n"]:
        """No tolls."""
        return jnp.zeros((self.blocks, self.blocks))

    @functools.cached_property
    def walk(self) -> "Walk":
        """Walkers and leader; the arrays of large mazes are made once."""
        with jax.ensure_compile_time_eval():  # it is kept, also where it is asked for inside `jit`
            return Walk(self)

    @property
    def is_quiet(self) -> Bool[np.ndarray, "N N"]:
        """The quiet quarter."""
        middle = np.abs(np.arange(len(self.free)) + 0.5 - len(self.free) / 2) < (
            _QUIET / 2 * len(self.free)
        )
        return middle[:, None] & middle

    @property
    def goal(self) -> tuple[int, int]:
        """The free cell of the right side that is nearest to its middle."""
        rows = np.flatnonzero(self.free[:, -1])
        middle = (len(self.free) - 1) / 2
        return int(rows[np.argmin(np.abs(rows - middle))]), len(self.free) - 1

    @property
    def block_of(self) -> Int[np.ndarray, "N"]:
        """The block of every row, and of every column."""
        return np.arange(len(self.free)) * self.blocks // len(self.free)

    def even(self, total: float, where: Bool[np.ndarray, "N N"] | None = None) -> np.ndarray:
        """Tolls (n,n) that spread a total evenly over the blocks with cells `where`, or all."""
        blocks = np.zeros((self.blocks, self.blocks), bool)
        rows, columns = np.nonzero(self.free if where is None else self.free & where)
        blocks[self.block_of[rows], self.block_of[columns]] = True
        return total / blocks.sum() * blocks

    def on_map(self, values: Float[np.ndarray, "S"]) -> Float[np.ndarray, "N N"]:
        """A number a state as a map, NaN on walls."""
        table = np.full(self.free.shape, np.nan)
        table[self.free] = values
        return table


class Walk(eqx.Module):
    """The walkers and the leader of a maze; the arrays are leaves, as in `four_rooms.Walk`."""

    transition: SuccessorList
    initial: Float[Array, "S"]
    at_goal: Bool[Array, "S"]
    is_quiet: Bool[Array, "S"]
    block: tuple[Int[Array, "S"], Int[Array, "S"]]
    discount: Float[Array, ""]
    temperature: Float[Array, ""]

    def __init__(self, maze: Maze):
        rows, columns = np.nonzero(maze.free)
        self.at_goal = jnp.asarray((rows == maze.goal[0]) & (columns == maze.goal[1]))
        self.transition = SuccessorList(*_moves(maze))
        entrance = columns == 0
        self.initial = jnp.asarray(entrance / entrance.sum())
        self.is_quiet = jnp.asarray(maze.is_quiet[maze.free])
        self.block = jnp.asarray(maze.block_of[rows]), jnp.asarray(maze.block_of[columns])
        self.discount = jnp.asarray(maze.discount, float)
        self.temperature = jnp.asarray(maze.temperature, float)

    def follower(self, x: Float[Array, "n n"]) -> SoftMDP:
        """The walkers' soft MDP."""
        return SoftMDP(
            transition=self.transition,
            reward=jnp.where(self.at_goal, 0.0, -(1 + x[self.block])),
            discount=self.discount,
            temperature=self.temperature,
            initial=self.initial,
        )

    def leader_reward(self, x: Float[Array, "n n"]) -> Float[Array, "S"]:
        """-1 in the quiet quarter."""
        return -1.0 * self.is_quiet

    @property
    def leader_discount(self) -> Float[Array, "S"]:
        """0 where the count ends: in the quiet quarter (a walker counts once) and at the goal."""
        return jnp.where(self.is_quiet, 0.0, self.until_goal)

    @property
    def until_goal(self) -> Float[Array, "S"]:
        """The discount with which visits are counted: 0 at the goal, elsewhere nearly 1."""
        return jnp.where(self.at_goal, 0.0, _ALL_COUNT)


def _moves(maze: Maze) -> tuple[Int[np.ndarray, "S 4 3"], Float[np.ndarray, "S 4 3"]]:
    """Where each move ends: ahead or to either side; and how likely that is."""
    free = np.pad(maze.free, 1)
    state = np.cumsum(free).reshape(free.shape) - 1
    rows, columns = np.nonzero(free)
    here = np.arange(len(rows), dtype=np.int32)
    ends = np.empty((len(here), len(MOVES)), np.int32)
    for move, (down, right) in enumerate(MOVES):
        there = rows + down, columns + right
        ends[:, move] = np.where(free[there], state[there], here)
    at_goal = (rows == maze.goal[0] + 1) & (columns == maze.goal[1] + 1)
    ends[at_goal] = here[at_goal, None]
    turns = (np.arange(len(MOVES))[:, None] + [0, 1, -1]) % len(MOVES)
    chances = np.array([1 - maze.slip, maze.slip / 2, maze.slip / 2])
    return ends[:, turns], np.broadcast_to(chances, (len(here), *turns.shape))
