"""Tax design with a household that learns, beside the exact solution on grids.

    python benchmarks/bench_tax.py --temperature 0.3 --steps 300000

What counts is the exact welfare of the taxes that were found.
"""

import argparse
import json
import time

import jax
import jax.numpy as jnp
import numpy as np

import sobirl as sb
from sobirl.problems.tax_design import DISCOUNT, TaxDesign, tax
from sobirl.problems.tax_household import Household, utility, welfare


def main():
    """One run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--temperature", type=float, default=0.3)
    parser.add_argument("--method", default="trace")
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--round-steps", type=int, default=2000)
    parser.add_argument("--updates", type=float, default=0.03125)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    began = time.process_time()
    with jax.enable_x64(True):
        design = TaxDesign(arguments.temperature)
        x0 = jax.tree.map(np.asarray, design.x0())
    with jax.enable_x64(False):
        found = sb.design_incentives(
            Household(),
            welfare,
            incentive=utility,
            x0=jax.tree.map(jnp.asarray, x0),
            follower="soft-q",
            method=arguments.method,
            temperature=arguments.temperature,
            discount=DISCOUNT,
            steps=arguments.steps,
            round_steps=arguments.round_steps,
            num_envs=32,
            random_steps=4000,
            episodes=32,
            episode_steps=50,
            updates_per_step=arguments.updates,
            batch=256,
            learning_rate=arguments.learning_rate,
            target_rate=0.05,
            leader_rate=arguments.rate,
            warm_up=0.2,
            replay=60_000,
            seed=arguments.seed,
            progress=False,
        )
    seconds = time.process_time() - began
    with jax.enable_x64(True):
        value = jax.jit(design.problem().value)
        x = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), float), found.x)
        row = {
            "temperature": arguments.temperature,
            "method": arguments.method,
            "seed": arguments.seed,
            "start": -float(value(design.x0())),
            "welfare": -float(value(x)),
            "income": float(tax(x["income"])),
            "goods": np.asarray(tax(x["goods"])).round(3).tolist(),
            "learned": float(np.mean(found.history["leader_return"][-10:])),
            "steps": int(found.history["environment_steps"][-1]),
            "cpu_seconds": round(seconds, 1),
        }
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
