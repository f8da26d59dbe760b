"""Followers on the true reward, beside published returns.

python benchmarks/bench_followers.py [--seeds 5] [--envs Pendulum-v1]

Soft actor-critic with the presets of `sobirl run rlhf`, evaluated like the published agents: the
most likely actions, 100 episodes. Seconds are those of a whole run: compilation, learning and one
evaluation.
"""

import argparse
import time

import jax
import numpy as np

from machine import header
from sobirl.runs.rlhf import RLHFRun

# Steps, and the agent of RL Baselines3 Zoo's benchmark.md (one run each) to compare with.
PUBLISHED = {
    "CartPole-v1": (500_000, "A2C, PPO, 500k steps", 500.0),
    "Acrobot-v1": (300_000, "A2C, 500k steps", -83.4),
    "Pendulum-v1": (80_000, "SAC, 20k steps", -176.3),
}


def main() -> None:
    """Print a row an environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--envs", nargs="*", default=list(PUBLISHED), choices=list(PUBLISHED))
    options = parser.parse_args()
    print(header() + "\n")
    print("| environment | steps | return, seed by seed | published | median seconds |")
    print("|---|---|---|---|---|")
    for env in options.envs:
        steps, agent, published = PUBLISHED[env]
        returns, seconds = [], []
        for seed in range(options.seeds):
            run = RLHFRun(
                env=env,
                method="ground-truth",
                steps=steps,
                seed=seed,
                eval_every=1_000_000,  # at the end only
                eval_episodes=100,
                eval_greedy=True,
                clips=0,
            )
            start = time.perf_counter()
            returns.append(run.run().summary["metrics"]["true_return"])
            seconds.append(time.perf_counter() - start)
            jax.clear_caches()
        values = ", ".join(f"{value:.1f}" for value in returns)
        print(
            f"| {env} | {steps:,} | {values} | {published} ({agent}) | {np.median(seconds):.0f} |"
        )


if __name__ == "__main__":
    main()
