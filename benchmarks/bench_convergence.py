"""The paper's convergence rate: does the running mean of ‖∇φ(x_k)‖² fall like 1/K?

    python benchmarks/bench_convergence.py [--quick] [--figures docs/figures]

The running mean (1/K) Σ_{k<K} ‖∇φ(x_k)‖² on `TargetPolicy`, A = 5, n = 100, plain gradient descent.
Every norm is that of the exact hyper-gradient at the iterates, also where the method steps along an
estimate; the estimate's own norm has a column of its own.
"""

# Before numpy: it limits the threads of LAPACK.
from single_loop import (
    PAPER_ZETA,
    SWEEPS,
    arrays_of,
    make_instance,
    parse_options,
    print_head,
    print_row,
    progress,
    trajectory,
)

# isort: split
import dataclasses

import jax.numpy as jnp
import numpy as np

import figures_convergence as figures
import sobirl as sb
from machine import header
from sobirl.problems.random_mdp import TargetPolicy

STEP_SIZES = tuple(2.0**-k for k in range(4, 8))
CONVERGED = 0.01  # of the first ‖∇φ‖
METHODS = {
    "Exact": sb.Exact(),
    "MSoBiRL, normal": sb.MSoBiRL(adjoint_step_size=jnp.asarray(PAPER_ZETA), sweeps=SWEEPS),
    "MSoBiRL, occupancy": sb.MSoBiRL("occupancy", sweeps=SWEEPS),
}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    states: int = 100
    seeds: int = 5
    steps: int = 3000
    choice_steps: int = 1000  # in the choice of the step size


QUICK = Sizes(states=50, seeds=2, steps=600, choice_steps=300)


def choose_step_size(sizes: Sizes) -> float:
    """Print by step size how far ‖∇φ‖ falls; the largest with which it does in every run."""
    print(
        f"Largest ‖∇φ(x_k)‖/‖∇φ(x_0)‖ over {sizes.seeds} instances (S = {sizes.states}) "
        f"at k = {sizes.choice_steps}:\n"
    )
    print_head(["β", *METHODS])
    instances = [make_instance("target", sizes.states, seed) for seed in range(sizes.seeds)]
    standing = []
    for learning_rate in STEP_SIZES:
        row = [
            max(progress(each, method, learning_rate, sizes.choice_steps) for each in instances)
            for method in METHODS.values()
        ]
        print_row([f"1/{1 / learning_rate:.0f}", *(f"{ratio:.2g}" for ratio in row)])
        if max(row) < CONVERGED:
            standing.append(learning_rate)
    chosen = max(standing, default=min(STEP_SIZES))
    print(
        f"\nβ = 1/{1 / chosen:.0f}: the largest of these with which every run falls below "
        f"{CONVERGED}.\n"
    )
    return chosen


def measure_rate(sizes: Sizes, learning_rate: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By method: exact and estimated squared norms, each (seeds, K)."""
    squares = {}
    for name, method in METHODS.items():
        runs = []
        for seed in range(sizes.seeds):
            arrays = arrays_of(make_instance("target", sizes.states, seed))
            run = trajectory(TargetPolicy, arrays, method, learning_rate, sizes.steps)
            runs.append(np.asarray(run))
        exact, estimated = np.stack(runs, axis=1)
        squares[name] = exact, estimated
    return squares


def running_mean(squares: np.ndarray) -> np.ndarray:
    """(1/K) Σ_{k<K} of the last axis, for K = 1, 2, ..."""
    return np.cumsum(squares, axis=-1) / np.arange(1, squares.shape[-1] + 1)


def fitted_slope(values: np.ndarray, first: int, last: int) -> float:
    """Least-squares slope of log value against log K, at 60 K spread evenly in log K."""
    places = np.unique(np.geomspace(first, last, 60).round().astype(int))
    return float(np.polyfit(np.log(places), np.log(values[places - 1]), 1)[0])


def slopes(rows: np.ndarray, first: int, last: int) -> str:
    """The median of the rows' fitted slopes and their range."""
    fits = [fitted_slope(row, first, last) for row in rows]
    return f"{np.median(fits):.2f} ({min(fits):.2f} to {max(fits):.2f})"


def print_rate(squares: dict[str, tuple[np.ndarray, np.ndarray]], sizes: Sizes) -> None:
    """The running means and their slopes."""
    last = sizes.steps
    first, early = last // 10, last // 100
    print(
        f"(1/K) Σ ‖∇φ(x_k)‖², median over {sizes.seeds} instances; slopes on log-log axes, "
        "median (lowest to highest):\n"
    )
    columns = [
        "method",
        *(f"K = {k}" for k in (early, first, last)),
        f"slope, K = {early} to {first}",
        f"slope, K = {first} to {last}",
        f"slope of ‖∇φ(x_k)‖² itself, k = {first} to {last}",
        f"the estimate's mean, K = {last}",
    ]
    print_head(columns)
    for name, (exact, estimated) in squares.items():
        means, estimates = running_mean(exact), running_mean(estimated)
        at = [f"{np.median(means[:, k - 1]):.3g}" for k in (early, first, last)]
        fits = [slopes(means, early, first), slopes(means, first, last), slopes(exact, first, last)]
        print_row([name, *at, *fits, f"{np.median(estimates[:, -1]):.3g}"])


def main() -> None:
    """Print both tables and draw the figure."""
    options = parse_options(__doc__.splitlines()[0])
    sizes = QUICK if options.quick else Sizes()
    print(header(), end="\n\n")
    squares = measure_rate(sizes, choose_step_size(sizes))
    print_rate(squares, sizes)
    if options.figures:
        means = {
            name: (running_mean(exact), running_mean(estimated), exact)
            for name, (exact, estimated) in squares.items()
        }
        figures.convergence(means).savefig(options.figures / "convergence.png", dpi=110)


if __name__ == "__main__":
    main()
