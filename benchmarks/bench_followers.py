"""Followers on the true reward, beside published returns.

python benchmarks/bench_followers.py [--seeds 5] [--envs Pendulum-v1] [--follower soft-q]

A follower with the presets of `sobirl run rlhf`, evaluated like the published agents: the
most likely actions, 100 episodes. On Acrobot it explores before it has a reward. Seconds are those
of a whole run: compilation, learning and one evaluation.
"""

import argparse
import time

import jax
import numpy as np

from machine import header
from sobirl.deep.followers import FOLLOWERS
from sobirl.experiments.rlhf import RLHFRun

# Options, and the agent of RL Baselines3 Zoo's benchmark.md (one run each) to compare with.
PUBLISHED = {
    "CartPole-v1": ({"steps": 500_000}, "A2C, PPO, 500k steps", 500.0),
    "Acrobot-v1": ({"steps": 300_000, "pretrain_steps": 20_480}, "A2C, 500k steps", -83.4),
    "Pendulum-v1": ({"steps": 80_000}, "SAC, 20k steps", -176.3),
}


def main() -> None:
    """Print a row an environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--envs", nargs="*", default=list(PUBLISHED), choices=list(PUBLISHED))
    parser.add_argument("--follower", default="sac", choices=list(FOLLOWERS))
    options = parser.parse_args()
    print(header() + "\n")
    print("| environment | steps | return, seed by seed | published | median seconds |")
    print("|---|---|---|---|---|")
    for env in options.envs:
        more, agent, published = PUBLISHED[env]
        returns, seconds = [], []
        for seed in range(options.seeds):
            run = RLHFRun(
                env=env,
                method="ground-truth",
                follower=options.follower,
                seed=seed,
                eval_every=1_000_000,  # at the end only
                eval_episodes=100,
                eval_greedy=True,
                clips=0,
                **more,
            )
            start = time.perf_counter()
            returns.append(run.run().summary["metrics"]["true_return"])
            seconds.append(time.perf_counter() - start)
            jax.clear_caches()
        values = ", ".join(f"{value:.1f}" for value in returns)
        beside = f"{published} ({agent})"
        print(f"| {env} | {more['steps']:,} | {values} | {beside} | {np.median(seconds):.0f} |")


if __name__ == "__main__":
    main()
