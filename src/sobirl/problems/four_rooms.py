"""Four Rooms: penalties on the floor that steer a walker past a cell on its way to a random goal.

A walker crosses a 13x13 map from one start to one of two goals, drawn uniformly and known to it
(the context). Moves slip: the intended one happens with probability 0.56, each other one with
0.44/3; into a wall means staying. Reaching the goal pays 1 and ends the episode. The designer puts
penalties on cells, I(s) = -0.2 softmax(w)_s, w in R^105 (one entry a free cell and one for unused
budget), and wants the walker to pass the marked cell, at a cost for the budget it uses:

    follower   r(s) = 1[s = goal] + 1[s ≠ goal] I(s),  entropy weight τ, γ = 0.99
    leader     maximizes E_goal E[Σ_t γ^t (1[s_t = marked] - β 1[s_t = goal] ‖I‖₁)]

Source: Thoma et al. (2024), HPGD; the transition matrix by which their code plans and evaluates.
"""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from sobirl.bilevel import BilevelProblem
from sobirl.hypergrad import LeaderReturn
from sobirl.mdp import SoftMDP, SuccessorList

MAP = """\
xxxxxxxxxxxxx
x     x     x
x     x     x
x           x
x     x     x
x     x     x
xx xxxx     x
x     xxx xxx
x     x     x
x     x     x
x           x
x     x     x
xxxxxxxxxxxxx"""

START = (4, 1)
GOALS = ((1, 9), (11, 11))
MARKED = (8, 4)
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left
INTENDED = 0.56
DISCOUNT = 0.99
BUDGET = 0.2

# Mean leader value over 10 seeds, the last 1000 of 10,000 outer iterations, best step size of a
# grid: Thoma et al. (2024), Table 1. Keys are (temperature, cost weight).
SOURCE = "Thoma et al. (2024)"
PUBLISHED: dict[tuple[float, float], dict[str, float]] = {
    (0.001, 1): {"HPGD": 0.91, "AMD": 0.58, "zero-order": 0.59},
    (0.001, 3): {"HPGD": 0.51, "AMD": 0.51, "zero-order": 0.50},
    (0.001, 5): {"HPGD": 0.46, "AMD": 0.46, "zero-order": 0.46},
    (0.003, 1): {"HPGD": 0.95, "AMD": 1.00, "zero-order": 0.91},
    (0.003, 3): {"HPGD": 0.73, "AMD": 0.39, "zero-order": 0.40},
    (0.003, 5): {"HPGD": 0.29, "AMD": 0.32, "zero-order": 0.32},
    (0.005, 1): {"HPGD": 1.17, "AMD": 1.28, "zero-order": 1.15},
    (0.005, 3): {"HPGD": 1.01, "AMD": 1.13, "zero-order": 1.02},
    (0.005, 5): {"HPGD": 0.87, "AMD": 0.97, "zero-order": 0.79},
}

# Leader value of the variant with the first goal alone and cost weight 5, one environment: Kudo et
# al. (2026), read off their figures (±0.01). Keys are (temperature, cost weight, environment steps
# an outer iteration); "oracle" is HPGD with tables from 10,000 further steps. Which of their two
# panels is which number of steps is not certain.
PUBLISHED_ONE_GOAL: dict[tuple[float, float, int], dict[str, float]] = {
    (0.001, 5, 100): {"BC-HG": 0.67, "HPGD": 0.01, "oracle": 0.69},
    (0.003, 5, 100): {"BC-HG": 0.55, "HPGD": 0.10, "oracle": 0.53},
    (0.005, 5, 100): {"BC-HG": 1.34, "HPGD": 1.17, "oracle": 0.84},
    (0.001, 5, 1000): {"BC-HG": 0.20, "HPGD": 0.21, "oracle": 0.70},
    (0.003, 5, 1000): {"BC-HG": 0.27, "HPGD": 0.26, "oracle": 0.53},
    (0.005, 5, 1000): {"BC-HG": 1.03, "HPGD": 1.21, "oracle": 0.95},
}


def is_wall() -> np.ndarray:
    """The map as booleans (13, 13), true where there is a wall."""
    return np.array([[mark == "x" for mark in row] for row in MAP.splitlines()])


@functools.cache
def cells() -> tuple[tuple[int, int], ...]:
    """The (row, column) of every state, in reading order."""
    return tuple((int(row), int(column)) for row, column in np.argwhere(~is_wall()))


def state_of(cell: tuple[int, int]) -> int:
    """The state of a free cell."""
    return cells().index(cell)


@functools.cache
def moves(intended: float = INTENDED) -> tuple[np.ndarray, np.ndarray]:
    """Where each move ends (S,4,4) and how likely it is (S,4,4) for every intended action.

    `intended` is the probability of the intended move; each other one has a third of the rest.
    """
    wall = is_wall()
    ends = [
        [
            state_of(
                (row, column) if wall[row + down, column + right] else (row + down, column + right)
            )
            for down, right in MOVES
        ]
        for row, column in cells()
    ]
    slip = (1 - intended) / (len(MOVES) - 1)
    chances = np.where(np.eye(len(MOVES), dtype=bool), intended, slip)
    shape = (len(cells()), len(MOVES), len(MOVES))
    return np.broadcast_to(np.array(ends)[:, None, :], shape), np.broadcast_to(chances, shape)


@dataclasses.dataclass(frozen=True)
class FourRooms:
    """One cell of the published table.

    Args:
        temperature: the walker's entropy weight τ, in units of the goal's reward.
        cost_weight: β, the designer's price of a unit of penalty budget.
        goals: the cells of which one is drawn; Kudo et al. (2026) have the first alone.
    """

    temperature: float = 0.001
    cost_weight: float = 1.0
    goals: tuple[tuple[int, int], ...] = GOALS

    def problem(self) -> BilevelProblem:
        """The bilevel problem over w (105,), with the goals as equally likely contexts."""
        goals = jnp.array([state_of(goal) for goal in self.goals])
        objective = LeaderReturn(self.walk.follower, self.walk.leader_reward)
        return BilevelProblem(self.walk.follower, objective, contexts=goals)

    @functools.cached_property
    def walk(self) -> "Walk":
        """The walker and the designer with these constants."""
        with jax.ensure_compile_time_eval():  # it is kept, also where it is asked for inside `jit`
            return Walk(jnp.asarray(self.temperature, float), jnp.asarray(self.cost_weight, float))

    def published(self, environment_steps: int | None = None) -> dict[str, float] | None:
        """The published leader values of this cell, if it is one of theirs.

        Those for one goal depend on the environment steps of an outer iteration; where there are
        none for that number, the higher ones.
        """
        cell = self.temperature, self.cost_weight
        if self.goals == GOALS:
            return PUBLISHED.get(cell)
        if self.goals != GOALS[:1]:
            return None
        rows: dict[int | None, dict[str, float]] = {
            n: row for (*where, n), row in PUBLISHED_ONE_GOAL.items() if tuple(where) == cell
        }
        if environment_steps in rows or not rows:
            return rows.get(environment_steps)
        return {name: max(row[name] for row in rows.values()) for name in rows[100]}


class Walk(eqx.Module):
    """The walker and the designer; their constants are arrays, so that a program serves all cells.

    Args:
        temperature: as in `FourRooms`.
        cost_weight: as in `FourRooms`.
    """

    temperature: Float[Array, ""]
    cost_weight: Float[Array, ""]

    def follower(self, w: Float[Array, "105"], goal: Int[Array, ""]) -> SoftMDP:
        """The walker's soft MDP for one goal."""
        at_goal = jnp.arange(len(cells())) == goal
        ends, chances = moves()
        return SoftMDP(
            transition=SuccessorList(ends, chances),
            reward=jnp.where(at_goal, 1.0, incentive(w)),
            discount=jnp.where(at_goal, 0.0, DISCOUNT),
            temperature=self.temperature,
            initial=np.eye(len(cells()))[state_of(START)],
        )

    def leader_reward(self, w: Float[Array, "105"], goal: Int[Array, ""]) -> Float[Array, "104"]:
        """The designer's reward in every cell, for one goal."""
        state = jnp.arange(len(cells()))
        return (state == state_of(MARKED)) - self.cost_weight * spent(w) * (state == goal)


def incentive(w: Float[Array, "105"]) -> Float[Array, "104"]:
    """The penalty I(s) ≤ 0 on every cell."""
    return -BUDGET * jax.nn.softmax(w)[:-1]


def spent(w: Float[Array, "105"]) -> Float[Array, ""]:
    """‖I‖₁, the budget in use."""
    return BUDGET * (1 - jax.nn.softmax(w)[-1])


def random_start(key: Key[Array, ""], scale: float = 3.0) -> Float[Array, "105"]:
    """w ~ N(0, scale²)."""
    return scale * jax.random.normal(key, (len(cells()) + 1,))
