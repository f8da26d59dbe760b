"""Solve and exact hyper-gradient of large MDPs: sweeps, factorizations, seconds, memory, slopes.

    python benchmarks/bench_scale.py [--states 1e3 1e6] [--kinds random grid] [--discounts 0.99]
    python benchmarks/bench_scale.py --states 1e6 --kinds random --devices 1 2

Every case runs in a process of its own, whose peak memory is reported. Seconds are those of a
second call; the first one, which also compiles, has a column of its own. Counts do not depend on
the machine: a sweep is one product with P or its transpose.
"""

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import time

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import sobirl as sb  # noqa: E402
from machine import header  # noqa: E402

DEVICES_FLAG = "--xla_force_host_platform_device_count={}"
TEMPERATURE = {"random": 0.1, "grid": 0.05}


def random_mdp(states: int, discount: float) -> sb.SoftMDP:
    """Successors anywhere: mixes fast."""
    rng = np.random.default_rng(0)
    successors = rng.integers(0, states, (states, 4, 4), dtype=np.int32)
    law = sb.SuccessorList(successors, rng.dirichlet(np.ones(4), (states, 4)))
    return sb.SoftMDP(
        law,
        rng.uniform(size=(states, 4)),
        discount,
        TEMPERATURE["random"],
        np.full(states, 1 / states),
    )


def grid_mdp(cells: int, discount: float) -> sb.SoftMDP:
    """A grid of about so many cells, a fifth of them walls, slip 0.2, a reward in the middle."""
    from scipy.ndimage import label

    rng = np.random.default_rng(0)
    side = round(np.sqrt(cells))
    free = rng.uniform(size=(side, side)) > 0.2
    parts, _ = label(free)
    free = parts == np.argmax(np.bincount(parts[free]))
    states = int(free.sum())
    number = np.full((side + 2, side + 2), -1)
    number[1:-1, 1:-1][free] = np.arange(states)
    down, right = np.nonzero(free)
    moves = [(-1, 0), (0, 1), (1, 0), (0, -1)]
    there = np.stack([number[down + 1 + i, right + 1 + j] for i, j in moves], axis=1)
    there = np.where(there < 0, np.arange(states)[:, None], there)
    turns = np.stack([there, np.roll(there, -1, axis=1), np.roll(there, 1, axis=1)], axis=-1)
    reward = np.zeros((states, 4))
    reward[states // 2] = 1.0
    law = sb.SuccessorList(turns, np.broadcast_to([0.8, 0.1, 0.1], turns.shape))
    return sb.SoftMDP(law, reward, discount, TEMPERATURE["grid"], np.full(states, 1 / states))


def measure(kind: str, states: int, discount: float, devices: int) -> dict:
    """One case: the solve, then `Exact` from a cold and from a warm start."""
    mdp = {"random": random_mdp, "grid": grid_mdp}[kind](states, discount)
    if devices > 1:
        mdp = sb.shard_states(sb.pad_states(mdp, devices))
    solver = sb.Auto(rtol=1e-8, policy_tolerance=1e-7)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=mdp.shape))

    def solved():
        solution = sb.solve(mdp, solver, throw=False)
        return jax.block_until_ready(solution)

    def follower(x):
        return sb.SoftMDP(mdp.transition, mdp.reward + x, discount, mdp.temperature, mdp.initial)

    problem = sb.BilevelProblem(follower, lambda x, r: jnp.sum(weights * r.policy) / len(weights))
    method = sb.Exact(solver, rtol=1e-10)
    x = jnp.zeros(mdp.shape)
    from sobirl.core.hoisting import hoisting_jit

    estimate = hoisting_jit(method.estimate)
    key = jax.random.key(0)

    def hypergradient(x, state):
        return jax.block_until_ready(estimate(problem, x, state, key))

    first, solution = timed(solved)
    again, _ = timed(solved)
    cold = method.init(problem, x, key)
    timed(hypergradient, x, cold)
    both, (gradient, state, metrics) = timed(hypergradient, x, cold)
    x = x - 1e-3 * gradient / jnp.max(jnp.abs(gradient))
    warm, (_, _, later) = timed(hypergradient, x, state)
    return {
        "kind": kind,
        "devices": devices,
        "states": mdp.shape[0],
        "discount": discount,
        "sweeps": int(solution.stats.sweeps),
        "factorizations": int(solution.stats.factorizations),
        "adjoint sweeps": int(metrics["sweeps"]) - int(solution.stats.sweeps),
        "value bound": float(solution.stats.value_bound / jnp.max(jnp.abs(solution.value))),
        "adjoint residual": float(metrics["adjoint_residual"]),
        "status": sb.Status(int(metrics["status"])).name,
        "first call": first,
        "solve": again,
        "with hyper-gradient": both,
        "later step": warm,
        "later factorizations": int(later["factorizations"]),
        "GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def timed(function, *args):
    """Seconds of a call, and what it returned."""
    start = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - start, result


def main() -> None:
    """Every case in a process of its own; a row as soon as it is there; slopes at the end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=float, nargs="+", default=[1e3, 1e4, 1e5, 1e6])
    parser.add_argument("--kinds", nargs="+", default=["random", "grid"])
    parser.add_argument("--discounts", type=float, nargs="+", default=[0.99, 0.9999])
    parser.add_argument("--devices", type=int, nargs="+", default=[1], help="virtual ones")
    parser.add_argument("--case", help="run this one here and print it as JSON")
    options = parser.parse_args()
    if options.case:
        kind, states, discount, devices = options.case.split(",")
        print(json.dumps(measure(kind, int(states), float(discount), int(devices))))
        return
    print(header())
    columns = None
    for kind in options.kinds:
        for discount, devices in itertools.product(options.discounts, options.devices):
            environment = os.environ | {"XLA_FLAGS": DEVICES_FLAG.format(devices)}
            seconds = []
            for states in map(int, options.states):
                case = f"{kind},{states},{discount},{devices}"
                command = [sys.executable, __file__, "--case", case]
                done = subprocess.run(
                    command, capture_output=True, text=True, check=False, env=environment
                )
                if done.returncode:
                    print(f"| {case} failed: {done.stderr.strip().splitlines()[-1]} |")
                    continue
                row = json.loads(done.stdout.splitlines()[-1])
                if columns is None:
                    columns = list(row)
                    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)
                print("| " + " | ".join(_shown(row[c]) for c in columns) + " |", flush=True)
                seconds.append((row["states"], row["with hyper-gradient"]))
            if len(seconds) > 1:
                sizes, times = np.log(np.array(seconds)).T
                print(f"slope of log seconds against log S: {np.polyfit(sizes, times, 1)[0]:.2f}")


def _shown(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
