"""Model-free methods on both Four Rooms problems: one run, its exact values along the way.

What `bench_sampled_four_rooms.py` runs and `figures_sampled.py` draws.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax

from sobirl.bilevel import BilevelProblem, GeometricContinuation, minimize
from sobirl.core.protocols import Method
from sobirl.hypergrad import AMD, BCHG, HPGD, PBRL, AdvantageTrace, Naive, PlugIn, SoBiRL, ZeroOrder
from sobirl.problems.four_rooms import GOALS, FourRooms, random_start
from sobirl.runs.evaluation import evaluate

STEP_SIZES = (0.1, 0.3)
POINTS = 20  # along a run
# Recipes that the starts take turns in: the temperature that the walker cools from.
FIRST_TEMPERATURES = (0.0, 0.005, 0.0, 0.02)


@dataclasses.dataclass(frozen=True)
class Cell:
    """A column of a published table.

    Attributes:
        temperature: τ.
        cost_weight: β.
        steps: environment steps of an outer iteration, all goals together.
        goals: how many goals.
    """

    temperature: float
    cost_weight: float
    steps: int
    goals: int

    def design(self) -> FourRooms:
        """The problem's constants."""
        return FourRooms(self.temperature, self.cost_weight, GOALS[: self.goals])


TWO_GOALS = tuple(Cell(t, b, 10_000, 2) for t in (0.001, 0.003, 0.005) for b in (1.0, 3.0, 5.0))
ONE_GOAL = tuple(Cell(t, 5.0, n, 1) for n in (100, 1000) for t in (0.001, 0.003, 0.005))

# Starts and outer iterations: together fewer than the 10,000 iterations of the published runs.
PORTFOLIOS = {10_000: (12, 300), 1000: (32, 300), 100: (32, 300)}
LARGE_PORTFOLIO = (32, 300)
LARGE = "PlugIn, large"


def methods(cell: Cell) -> dict[str, Method]:
    """The methods with no more environment steps an iteration than the cell allows."""
    steps = cell.steps // cell.goals
    length = min(200, steps // 2)  # of single episodes
    envs = max(1, steps // length)
    streams, stream = {5000: (25, 200), 1000: (20, 50), 100: (4, 25)}[steps]
    few = {5000: 5, 1000: 1, 100: 1}[steps]
    return {
        LARGE: PlugIn(streams, stream),
        "PlugIn": PlugIn(streams, stream),
        "AdvantageTrace": AdvantageTrace(streams, stream),
        "SoBiRL": SoBiRL(envs, tails="fitted"),
        "HPGD": HPGD(few, steps // few),
        "BC-HG": BCHG(few, steps // few),
        "Naive": Naive(streams, stream),
        "ZeroOrder": ZeroOrder(0.5, num_envs=max(1, envs // 2), num_steps=length),
        "AMD": AMD(100),
        "PBRL": PBRL(penalty=100.0, policy_steps=2),
    }


def problem_for(name: str, cell: Cell) -> BilevelProblem:
    """The problem as a method wants it: SoBiRL takes the return as a loss of trajectories."""
    problem = cell.design().problem()
    if name != "SoBiRL":
        return problem
    length = min(200, cell.steps // cell.goals // 2)
    loss = problem.objective.as_trajectory_loss(length)
    return BilevelProblem(problem.follower, loss, contexts=problem.contexts)


class Track:
    """A recorder that keeps x at some points of a run."""

    def __init__(self, every: int):
        """Keep x after every `every` steps."""
        self.every, self.xs, self.seconds = every, [], []

    def restore(self, like):
        """Nothing to take up."""
        return

    def record(self, state, rows, seconds):
        """Keep x if its time has come."""
        if int(np.max(state.step)) % self.every == 0:
            self.xs.append(np.asarray(state.x))
            self.seconds.append(seconds)

    def save(self):
        """Nothing to save."""


def run(name: str, cell: Cell, step_size: float, seed: int) -> dict:
    """One portfolio of starts: the start that its own samples favor, judged by exact values."""
    starts, iterations = LARGE_PORTFOLIO if name == LARGE else PORTFOLIOS[cell.steps]
    turns = jnp.arange(starts) % len(FIRST_TEMPERATURES)
    first = jnp.array(FIRST_TEMPERATURES)[turns]
    track = Track(iterations // POINTS)
    result = minimize(
        problem_for(name, cell),
        random_start,
        methods(cell)[name],
        # First a tenth of slow steps, in which a method can learn the follower's ways.
        optax.adam(
            optax.warmup_cosine_decay_schedule(0.0, step_size, iterations // 10, iterations)
        ),
        num_steps=iterations,
        key=seed,
        starts=starts,
        continuation=GeometricContinuation(
            factor=jnp.maximum(first / cell.temperature, 1.0), num_steps=iterations // 2
        ),
        progress=False,
        chunk_size=iterations // POINTS,
        recorder=track,
    )
    # What the method saw itself over the last tenth of its iterations, at hardly moving x.
    seen = result.history["objective"][-(iterations // 10) :].mean(axis=0)
    chosen = int(np.nanargmin(seen))
    path = np.stack(track.xs)  # (points, starts, 105)
    found = evaluate(cell.design().problem(), path.reshape(-1, path.shape[-1]), needed=(0,))
    values = -found.objective.reshape(path.shape[:2])
    taken = result.history.get("environment_steps", np.zeros((1, starts)))
    return {
        "method": name,
        "cell": dataclasses.astuple(cell),
        "step_size": step_size,
        "seed": seed,
        "value": float(values[-2:, chosen].mean()),
        "best": float(np.nanmax(values[-1])),
        "median": float(np.nanmedian(values[-1])),
        "curve": np.nanmax(values, axis=1).round(4).tolist(),
        "environment_steps": float(taken.sum()),
        "seconds": result.run_seconds,
    }
