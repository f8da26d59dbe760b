"""A large maze from cold: the first solve, and the share's exact hyper-gradient at even tolls.

python benchmarks/bench_maze.py --size 1000
"""

import argparse
import resource
import time

import jax
import jax.numpy as jnp

import machine
import sobirl as sb
from sobirl.core.hoisting import hoisting_jit
from sobirl.problems.maze import Maze


def main() -> None:
    """Print seconds, processor seconds, the peak of memory, and what was done."""
    jax.config.update("jax_enable_x64", True)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=300, help="cells on a side")
    parser.add_argument("--budget", type=float, default=20.0, help="tolls in all")
    args = parser.parse_args()
    print(machine.header())
    clock = time.perf_counter()
    maze = Maze.generate(args.size)
    problem, x = maze.problem(), jnp.asarray(maze.even(args.budget, maze.is_quiet))
    say(clock, f"{maze.free.sum():,} states")

    solution = sb.solve(problem.lower(x))
    stats = solution.stats
    say(clock, f"solved: {stats.sweeps} sweeps, {stats.factorizations} factorizations")

    @hoisting_jit
    def value_and_gradient(problem, x, value):
        def share(x):
            return problem.upper(x, sb.solve(problem.lower(x), initial_value=value, throw=False))

        return jax.value_and_grad(share)(x)

    share, gradient = value_and_gradient(problem, x, solution.value)
    say(clock, f"hyper-gradient: share {share:.4f}, norm {jnp.linalg.norm(gradient):.4g}")


def say(clock: float, what: str) -> None:
    """What was done, and what all has taken up to now."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(
        f"{time.perf_counter() - clock:7.1f} s, {usage.ru_utime + usage.ru_stime:7.1f} s of CPU, "
        f"peak {usage.ru_maxrss / 2**20:.2f} GiB: {what}",
        flush=True,
    )


if __name__ == "__main__":
    main()
