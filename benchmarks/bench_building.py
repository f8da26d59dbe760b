"""Building thermal control with a tenant who learns, beside the exact solution.

    python benchmarks/bench_building.py --steps 60000

What counts is the exact return of the building that was found, with the problem's own controller.
"""

import argparse
import json
import time

import jax
import jax.numpy as jnp
import numpy as np

import sobirl as sb
from sobirl.problems.building_tenant import UNIT, Tenant, designer, nothing
from sobirl.problems.building_thermal import DISCOUNT, BuildingThermal, rates


def main():
    """One run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--temperature", type=float, default=2.0, help="of the tenant")
    parser.add_argument("--noise", type=float, default=1.0, help="of the tenant's weather")
    parser.add_argument("--method", default="trace")
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument("--round-steps", type=int, default=960)
    parser.add_argument("--updates", type=float, default=0.125)
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--averaged", type=int, default=100)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with jax.enable_x64(True):
        x0 = jax.tree.map(np.asarray, BuildingThermal().x0())
    began = time.process_time()
    with jax.enable_x64(False):
        found = sb.design_incentives(
            Tenant(noise=arguments.noise),
            designer,
            incentive=nothing,
            x0=jax.tree.map(jnp.asarray, x0),
            method=arguments.method,
            temperature=arguments.temperature / UNIT,
            discount=DISCOUNT,
            steps=arguments.steps,
            round_steps=arguments.round_steps,
            num_envs=32,
            random_steps=2000,
            episodes=arguments.episodes,
            episode_steps=30,
            updates_per_step=arguments.updates,
            averaged=arguments.averaged,
            batch=256,
            learning_rate=arguments.learning_rate,
            target_rate=0.02,
            leader_rate=arguments.rate,
            warm_up=0.3,
            replay=20_000,
            seed=arguments.seed,
            progress=False,
        )
    seconds = time.process_time() - began
    jax.clear_caches()  # constants of the problem are kept in single precision
    with jax.enable_x64(True):
        thermal = BuildingThermal()
        value = thermal.problem().value
        x = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), float), found.x)
        built = {name: np.asarray(rate).round(2).tolist() for name, rate in rates(x).items()}
        row = {
            "method": arguments.method,
            "seed": arguments.seed,
            "first": -float(value(thermal.x0())),
            "found": -float(value(x)),
            **built,
            "learned": UNIT * float(np.mean(found.history["leader_return"][-10:])),
            "learned_at_first": UNIT * float(np.mean(found.history["leader_return"][10:18])),
            "agreement": float(np.mean(found.history["agreement"][-20:])),
            "steps": int(found.history["environment_steps"][-1]),
            "cpu_seconds": round(seconds, 1),
        }
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
