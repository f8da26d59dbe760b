"""Inverse reinforcement learning: worlds whose inhabitants have a reward that is to be recovered.

A walker crosses a map of three grounds to a goal that he does not leave; a step on a path is free,
on other ground it costs what nobody but he knows. The leader sees where he went. (What a step on a
path costs could not be told: a constant in all rewards changes nothing that he does.)
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sobirl.core.errors import InvalidInputError
from sobirl.estimation.demonstrations import Demonstrations
from sobirl.estimation.shaping import shaped
from sobirl.mdp import SoftMDP, SuccessorList, rollout
from sobirl.solvers import Solution, occupancy, solve

# s sand, . path, w water, G goal.
MAP = """\
ssss..ss
s.......
s.wwwws.
..wwwws.
.sswwss.
.ss..sss
....s..s
ss..ss.G"""
GROUNDS = {"sand": "s", "water": "w", "goal": "G"}
WEIGHTS = (-0.3, -0.9, 1.1)
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left


@dataclasses.dataclass(frozen=True)
class World:
    """A process, and the reward of those who live in it.

    Attributes:
        mdp: with no reward.
        features: φ (S,A,k).
        names: of the features.
        weights: the true ones (k,); None where nobody knows them.
        inputs: what a network sees of a state (S,d).
        shape: of a map whose cells are the first states, row by row; None where there is none.
    """

    mdp: SoftMDP
    features: Float[np.ndarray, "S A k"]
    names: tuple[str, ...]
    weights: Float[np.ndarray, "k"] | None
    inputs: Float[np.ndarray, "S d"]
    shape: tuple[int, int] | None = None

    @property
    def reward(self) -> Float[np.ndarray, "S A"]:
        """The true one.

        Raises:
            InvalidInputError: nobody knows it.
        """
        if self.weights is None:
            raise InvalidInputError("weights: nobody knows the true reward of this world")
        return self.features @ self.weights

    def inhabited(self) -> SoftMDP:
        """The process with the true reward."""
        return eqx.tree_at(lambda m: m.reward, self.mdp, jnp.asarray(self.reward))

    def simulate(self, episodes: int, steps: int, seed: int = 0) -> Demonstrations:
        """Episodes of its inhabitants, cut off after so many steps."""
        mdp = self.inhabited()
        walked = rollout(mdp, solve(mdp).log_policy, jax.random.key(seed), steps, episodes)
        return Demonstrations.of_rollout(walked)


def terrain(discount: float = 0.95, temperature: float = 0.2, slip: float = 0.1) -> World:
    """The walker's map: 8 × 8 cells, three features of the cell that he stands on.

    Args:
        discount: γ.
        temperature: τ.
        slip: the probability that a step goes to the side, half to either one.

    Raises:
        InvalidInputError: a slip that is no probability.
    """
    if not 0 <= slip < 1:
        raise InvalidInputError(f"slip: must lie in [0, 1), got {slip}")
    marks = np.array([list(line) for line in MAP.splitlines()])
    rows, columns = marks.shape
    row, column = np.divmod(np.arange(marks.size), columns)
    ends = np.stack(
        [
            np.clip(row + down, 0, rows - 1) * columns + np.clip(column + right, 0, columns - 1)
            for down, right in MOVES
        ],
        axis=1,
    )
    goal = marks.ravel() == "G"
    ends[goal] = np.flatnonzero(goal)[:, None]
    sides = [(a + turn) % len(MOVES) for a in range(len(MOVES)) for turn in (0, 1, 3)]
    successors = ends[:, sides].reshape(marks.size, len(MOVES), 3)
    chances = np.broadcast_to([1 - slip, slip / 2, slip / 2], successors.shape)
    on = np.stack([marks.ravel() == mark for mark in GROUNDS.values()], axis=1).astype(float)
    features = np.repeat(on[:, None], len(MOVES), axis=1)
    initial = np.where(goal, 0.0, 1.0) / (~goal).sum()
    mdp = SoftMDP(
        SuccessorList(successors, chances), np.zeros(features.shape[:2]), discount, temperature,
        initial,
    )  # fmt: skip
    inputs = np.stack([row / (rows - 1), column / (columns - 1)], axis=1) * 2 - 1
    return World(mdp, features, tuple(GROUNDS), np.array(WEIGHTS), inputs, (rows, columns))


@dataclasses.dataclass(frozen=True)
class Recovery:
    """How near a recovered reward is to the true one.

    Attributes:
        kl: Σ d(s) KL(π_true‖π), a step, with the true policy's discounted visits d.
        correlation: of both rewards as they are, over allowed state-actions.
        explained: 1 - Var(true - recovered)/Var(true) once the recovered one is shaped to be as
            near as may be: what no demonstrations can tell counts for nothing.
        explained_where_visited: the same, weighted with the true policy's visits.
        shaped: that shaped reward (S,A).
    """

    kl: float
    correlation: float
    explained: float
    explained_where_visited: float
    shaped: Float[np.ndarray, "S A"]


def recovery(world: World, reward: Float[np.ndarray, "S A"], response: Solution) -> Recovery:
    """Compare a reward and its response with a world's true one."""
    mdp, truth = world.inhabited(), world.reward
    true = solve(mdp)
    visits = np.asarray(occupancy(mdp, true.policy))
    logs = (np.asarray(found.log_policy)[visits > 0] for found in (true, response))
    gap = float(visits[visits > 0] @ np.subtract(*logs))
    near = shaped(mdp, reward, truth)
    allowed = np.ones(mdp.shape, bool)
    if mdp.reference_policy is not None:
        allowed = np.asarray(mdp.reference_policy) > 0
    weights = {"explained": allowed * 1.0, "explained_where_visited": visits}
    return Recovery(
        kl=gap / float(visits.sum()),
        correlation=float(np.corrcoef(reward[allowed], truth[allowed])[0, 1]),
        shaped=near,
        **{name: _explained(near, truth, weight) for name, weight in weights.items()},
    )


def _explained(found, truth, weight) -> float:
    mean = np.average(truth, weights=weight)
    lost = np.average((found - truth) ** 2, weights=weight)
    return float(1 - lost / np.average((truth - mean) ** 2, weights=weight))
