"""What an exact hyper-gradient costs beyond solving the lower level, for S from 10 to 2000.

    python benchmarks/bench_hypergradient.py [--largest 2000]

Random dense MDPs, x = the whole reward table, f = Σ c π: both columns start from V = 0 and run to
round-off. The two run in turn; the extra cost is the median of (solve + hyper-gradient)/solve - 1.
"""

import argparse

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import sobirl as sb  # noqa: E402
from machine import header, paired_seconds  # noqa: E402


def measure(states: int, actions: int = 4) -> tuple[float, float, float, int]:
    """Median seconds of a solve and of a solve with hyper-gradient, their ratio, Newton steps."""
    rng = np.random.default_rng(states)
    table = rng.uniform(size=(states, actions, states)) ** 8
    transition = sb.Dense(table / table.sum(-1, keepdims=True))
    weights = jnp.asarray(rng.normal(size=(states, actions)))
    reward = jnp.asarray(rng.normal(size=(states, actions)))
    rho = np.full(states, 1 / states)

    # P travels as an argument: as a constant of the program it would be compiled in.
    def mdp(transition, reward):
        return sb.SoftMDP(transition, reward, 0.99, 0.1, rho)

    @jax.jit
    def solve(transition, reward):
        # Exactly as `Exact` solves it, from V = 0.
        solution = sb.solve(mdp(transition, reward), throw=False)
        return jnp.sum(weights * solution.policy), solution.stats.steps

    @jax.jit
    def solve_and_differentiate(transition, reward):
        problem = sb.BilevelProblem(
            lambda x: mdp(transition, x), lambda x, response: jnp.sum(weights * response.policy)
        )
        method = sb.Exact()
        gradient, _, metrics = method.estimate(
            problem, reward, method.init(problem, reward, jax.random.key(0)), jax.random.key(0)
        )
        return metrics["objective"], gradient

    calls = (
        lambda: solve(transition, reward),
        lambda: solve_and_differentiate(transition, reward),
    )
    repeats = 301 if states <= 100 else 31 if states <= 500 else 9
    return (*paired_seconds(*calls, repeats), int(solve(transition, reward)[1]))


def main() -> None:
    """Print a table of times and of the extra cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=2000)
    largest = parser.parse_args().largest
    print(header())
    print("| S | A | steps | solve, ms | with hyper-gradient, ms | extra cost |")
    print("|---|---|---|---|---|---|")
    for states in (10, 20, 50, 100, 200, 500, 1000, 2000):
        if states <= largest:
            solve, both, ratio, steps = measure(states)
            print(
                f"| {states} | 4 | {steps} | {solve * 1e3:.3f} | {both * 1e3:.3f} "
                f"| {ratio - 1:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
