"""Learning rewards from preferences: environment steps a second, and time to a true return.

python benchmarks/bench_rlhf_throughput.py --peer peer/bin/python [--envs CartPole-v1] [--repeats 3]

Beside the preference comparisons of `imitation` 1.0.1, see `imitation_peer.py` for its environment.
Both learn from 200 comparisons, in processes of their own that are timed from their first line on:
with imports and, for sobirl, with all of its compilation, as in the first run on a machine. Only
evaluations are taken out. "Later" leaves out what comes before the first evaluation. The two
run in turn; the table has medians.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time

START = time.perf_counter()

import statistics  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import NamedTuple  # noqa: E402


class Task(NamedTuple):
    """What both do.

    Attributes:
        options: of `sobirl run rlhf`.
        steps: of sobirl.
        peer: the peer's name of the environment.
        peer_steps: of the peer, which takes about half more than it is told.
        target: a true return that shows that something was learned.
    """

    options: dict
    steps: int
    peer: str
    peer_steps: int
    target: float


# Fewer updates of the follower a step than the presets have, for the sake of speed.
FAST = {"batch": 128, "widths": (64, 64), "updates_per_step": 1 / 32}
TASKS = {
    "CartPole-v1": Task(
        {"fragment_length": 8, "batch": 128, "updates_per_step": 1 / 32},
        1_000_000,
        "CartPole-v1",
        50_000,
        195,
    ),
    "Pendulum-v1": Task(
        FAST | {"backend": "gymnasium", "num_envs": 16}, 300_000, "Pendulum-v1", 50_000, -300
    ),
    "HalfCheetah-v5": Task(
        FAST | {"learning_rate": 3e-3, "num_envs": 64}, 300_000, "HalfCheetah-v4", 50_000, 500
    ),
}
COMPARISONS, EVALUATIONS = 200, 10


def main() -> None:
    """Print a row an environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", help="the Python of the environment that has imitation")
    parser.add_argument("--envs", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--methods", nargs="*", default=["sobirl", "drlhf"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=3, metavar=("ENV", "METHOD", "SEED"), help="measure sobirl")
    options = parser.parse_args()
    if options.one:
        env, method, seed = options.one
        print(json.dumps(measured(env, method, int(seed))))
        return
    if options.peer is None:
        parser.error("--peer is needed: the Python of an environment that has imitation 1.0.1")
    from machine import header

    print(header() + "\n")
    print("| environment | | steps | seconds | steps/s | ratio | later | ratio | to target, s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for env in options.envs:
        compare(env, options)


def compare(env: str, options: argparse.Namespace) -> None:
    """The rows of an environment."""
    task, here = TASKS[env], Path(__file__)
    peer = [options.peer, str(here.with_name("imitation_peer.py")), task.peer, str(task.peer_steps)]
    runs = {"imitation": []} | {f"sobirl, {method}": [] for method in options.methods}
    for seed in range(options.repeats):
        runs["imitation"].append(output([*peer, "8", str(seed)]))
        for method in options.methods:
            ours = [sys.executable, str(here), "--one", env, method, str(seed)]
            runs[f"sobirl, {method}"].append(output(ours))
    for name, found in runs.items():
        steps, seconds = (
            statistics.median(r[what] for r in found) for what in ("steps", "seconds")
        )
        cells = [env, name, f"{steps:,.0f}", f"{seconds:.0f}"]
        for rate in (whole, running):
            ours, theirs = (statistics.median(map(rate, r)) for r in (found, runs["imitation"]))
            cells += [f"{ours:,.0f}", f"{ours / theirs:.1f}"]
        times = ", ".join(time_to(run["curve"], task.target) for run in found)
        print(f"| {' | '.join(cells)} | {task.target:g}: {times} |", flush=True)


def whole(run: dict) -> float:
    """Steps a second of the whole process."""
    return run["steps"] / run["seconds"]


def running(run: dict) -> float:
    """Steps a second between the first evaluation and the last: nothing is compiled there."""
    (begin, first, _), (end, last, _) = run["curve"][0], run["curve"][-1]
    return (last - first) / (end - begin)


def output(command: list[str]) -> dict:
    """The last line that a process prints, with no compiled programs to be found."""
    with tempfile.TemporaryDirectory() as nothing:
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": nothing, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def time_to(curve: list, target: float) -> str:
    """The seconds at the first evaluation that is as good as the target."""
    good = [seconds for seconds, _, value in curve if value >= target]
    return f"{good[0]:.0f}" if good else f"not reached ({max(v for _, _, v in curve):.0f})"


def measured(env: str, method: str, seed: int) -> dict:
    """Seconds, steps and the evaluations of one run of sobirl."""
    import jax

    from sobirl.experiments.rlhf import RLHFRun
    from sobirl.experiments.rlhf.rounds import Rounds

    jax.config.update("jax_enable_x64", False)
    task, watching, curve = TASKS[env], 0.0, []
    run = RLHFRun(env=env, method=method, steps=task.steps, pairs=COMPARISONS, **task.options)
    with Rounds.open(run, seed) as rounds:
        every = max(rounds.total // EVALUATIONS, 1)

        def watch(learning, key):
            nonlocal watching
            before = time.perf_counter()
            curve.append((before - START - watching, int(learning.loop[0].steps)))
            value = evaluate(learning, key)
            curve[-1] += (value,)
            watching += time.perf_counter() - before
            return value

        evaluate, rounds._evaluate = rounds._evaluate, watch
        rounds.settings = dataclasses.replace(rounds.settings, eval_every=every)
        state = rounds.begin()
        for _ in range(rounds.total):
            state, row = rounds.round(state)
    seconds = time.perf_counter() - START - watching
    return {"seconds": seconds, "steps": row["environment_steps"], "curve": curve}


if __name__ == "__main__":
    main()
