"""Milliseconds of an outer iteration on Four Rooms: our sampled methods and HPGD's own code.

python benchmarks/bench_outer_iteration.py --peer-python VENV/bin/python --peer PATH_TO_ITS_CODE

Two goals, 10,000 environment steps an outer iteration, one seed, one start. HPGD's code
(github.com/lasgroup/HPGD) needs an environment of its own: jax 0.4.21, jaxlib 0.4.21, flax 0.7.4,
optax below 0.1.8, distrax 0.1.5, gymnax 0.0.6, orbax-checkpoint 0.4.8, scipy 1.12, numpy 1.26.4,
tensorflow-probability 0.23. Its time is the difference of two runs' own clocks over the difference
of their iterations, so that compilation falls out; ours is that of `minimize` without compilation.
Both are taken in turn, `--repeats` times.
"""

import argparse
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import optax  # noqa: E402

from machine import header  # noqa: E402
from sobirl.bilevel import minimize  # noqa: E402
from sobirl.experiments.four_rooms.run import method_for  # noqa: E402
from sobirl.problems.four_rooms import FourRooms, random_start  # noqa: E402

NAMES = ("plug-in", "advantage-trace", "hpgd", "bc-hg", "sobirl", "naive", "zero-order")
ITERATIONS = 300
PEER_ITERATIONS = (20, 120)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", type=Path, help="a Python with what HPGD's code needs")
    parser.add_argument("--peer", type=Path, help="a checkout of HPGD's code")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(header())
    ours, theirs = {name: [] for name in NAMES}, []
    for _ in range(options.repeats):
        if options.peer:
            theirs.append(peer_milliseconds(options.peer_python, options.peer))
        for name in NAMES:
            ours[name].append(milliseconds(name))
    print("| method | ms an outer iteration | HPGD's code is slower by |")
    print("|---|---|---|")
    if theirs:
        print(f"| HPGD's code | {statistics.median(theirs):.1f} | 1 |")
    for name, times in ours.items():
        ratios = [their / our for their, our in zip(theirs, times, strict=False)]
        ratio = f"{statistics.median(ratios):.0f}" if ratios else ""
        print(f"| {name} | {statistics.median(times):.2f} | {ratio} |")


def milliseconds(name: str) -> float:
    """Ours."""
    method, problem = method_for(name, FourRooms().problem(), 5000)
    result = minimize(
        problem,
        random_start,
        method,
        optax.adam(0.1),
        num_steps=ITERATIONS,
        progress=False,
    )
    jax.clear_caches()
    return 1000 * result.run_seconds / ITERATIONS


def peer_milliseconds(python: Path, code: Path) -> float:
    """Theirs, at one step size and one cost weight."""
    few, many = (_peer_seconds(python, code, count) for count in PEER_ITERATIONS)
    return 1000 * (many - few) / (PEER_ITERATIONS[1] - PEER_ITERATIONS[0])


def _peer_seconds(python: Path, code: Path, iterations: int) -> float:
    config = (code / "data" / "experiment_reg_lambda_0_001" / "config.yaml").read_text()
    for name, value in (
        ("num_seeds", 1),
        ("incentive_reg_param", 1.0),
        ("learning_rate", 0.1),
        ("num_outer_iter", iterations),
    ):
        config = re.sub(rf"(?m)^(\s*{name}:).*$", rf"\1 {value}", config)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.yaml").write_text(config)
        told = subprocess.run(
            [python.absolute(), "train_stochastic_bilevel_opt.py", "--experiment_dir", folder],
            cwd=code,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    minutes, seconds = re.search(r"runtime: ([\d.]+) minutes and ([\d.]+) seconds", told).groups()
    return 60 * int(float(minutes)) + float(seconds)


if __name__ == "__main__":
    main()
