"""Model-free methods on both Four Rooms problems: one run, its exact values along the way.

What `bench_sampled_four_rooms.py` runs and `figures_sampled.py` draws.
"""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
import optax

from sobirl.bilevel import BilevelProblem, GeometricContinuation, minimize
from sobirl.core.protocols import Method
from sobirl.experiments.evaluation import evaluate
from sobirl.experiments.four_rooms import run as four_rooms
from sobirl.problems.four_rooms import GOALS, FourRooms, random_start

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
PORTFOLIOS = {10_000: (6, 300), 1000: (16, 300), 100: (16, 300)}
TWO_ROUNDS = ((48, 140), (4, 800))  # the best of the first round go on
ROUNDS = " in two rounds"
METHODS = (
    "plug-in in two rounds",
    "plug-in",
    "advantage-trace",
    "sobirl",
    "hpgd",
    "bc-hg",
    "naive",
    "zero-order",
    "amd",
    "pbrl",
)


def method_for(name: str, cell: Cell) -> Method:
    """A method with no more environment steps an iteration than the cell allows."""
    return _pair(name, cell)[0]


def problem(name: str, cell: Cell) -> BilevelProblem:
    """The problem as a method wants it."""
    return _pair(name, cell)[1]


@functools.cache
def _pair(name: str, cell: Cell) -> tuple[Method, BilevelProblem]:
    single = name.removesuffix(ROUNDS)
    return four_rooms.method_for(single, exact_problem(cell), cell.steps // cell.goals)


@functools.cache
def exact_problem(cell: Cell) -> BilevelProblem:
    """The problem as it was published; the same object again, so that nothing is compiled anew."""
    return cell.design().problem()


@functools.cache
def adam(learning_rate: float, iterations: int) -> optax.GradientTransformation:
    """Adam; first a tenth of slow steps, in which a method can learn the follower's ways."""
    return optax.adam(
        optax.warmup_cosine_decay_schedule(0.0, learning_rate, iterations // 10, iterations)
    )


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


def phases_of(name: str, cell: Cell) -> tuple[tuple[int, int], ...]:
    """Starts and outer iterations, phase by phase."""
    return TWO_ROUNDS if name.endswith(ROUNDS) else (PORTFOLIOS[cell.steps],)


def progress(name: str, cell: Cell) -> np.ndarray:
    """How much of all of a run's work was done at the points of its curve, from 0 to 1."""
    phases = phases_of(name, cell)
    work = np.concatenate([np.full(POINTS, starts * its / POINTS) for starts, its in phases])
    return np.cumsum(work) / work.sum()


def run(name: str, cell: Cell, learning_rate: float, seed: int) -> dict:
    """A portfolio of starts: the start that its own samples favor, judged by exact values."""
    phases = phases_of(name, cell)
    begin, curve, steps, seconds = random_start, [], 0.0, 0.0
    for number, (starts, iterations) in enumerate(phases):
        phase = _phase(
            name, cell, begin, starts, iterations, learning_rate / 2**number, seed, number
        )
        curve, steps = curve + phase["curve"], steps + phase["environment_steps"]
        seconds += phase["seconds"]
        # The starts that the method's own samples favor go on.
        order = np.argsort(phase["seen"])
        going_on = phases[number + 1][0] if number + 1 < len(phases) else 1
        begin = phase["x"][order[:going_on]]
    return {
        "method": name,
        "cell": dataclasses.astuple(cell),
        "learning_rate": learning_rate,
        "seed": seed,
        "value": float(phase["values"][-2:, order[0]].mean()),
        "best": float(np.nanmax(phase["values"][-1])),
        "median": float(np.nanmedian(phase["values"][-1])),
        "curve": curve,
        "environment_steps": steps,
        "seconds": seconds,
    }


def _phase(name, cell, begin, starts, iterations, learning_rate, seed, number) -> dict:
    """Some starts for some iterations; only the first phase cools."""
    turns = jnp.arange(starts) % len(FIRST_TEMPERATURES)
    factor = jnp.maximum(jnp.array(FIRST_TEMPERATURES)[turns] / cell.temperature, 1.0)
    track = Track(iterations // POINTS)
    result = minimize(
        problem(name, cell),
        begin,
        method_for(name, cell),
        adam(learning_rate, iterations),
        num_steps=iterations,
        key=1000 * number + seed,
        starts=starts,
        continuation=None if number else GeometricContinuation(factor, iterations // 2),
        progress=False,
        chunk_size=iterations // POINTS,
        recorder=track,
    )
    path = np.stack(track.xs)  # (points, starts, 105)
    found = evaluate(exact_problem(cell), path.reshape(-1, path.shape[-1]), needed=(0,))
    values = -found.objective.reshape(path.shape[:2])
    taken = result.history.get("environment_steps", np.zeros((1, starts)))
    return {
        "x": path[-1],
        # Over the last tenth of the iterations, in which x hardly moves.
        "seen": np.nan_to_num(result.history["objective"][-(iterations // 10) :].mean(0), nan=9e9),
        "values": values,
        "curve": np.nanmax(values, axis=1).round(4).tolist(),
        "environment_steps": float(taken.sum()),
        "seconds": result.run_seconds,
    }
