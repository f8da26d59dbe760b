"""The default Four Rooms run on all nine published cells, beside the best values known.

python benchmarks/bench_four_rooms.py [--seeds 3] [--search]
"""

import argparse

import jax

jax.config.update("jax_enable_x64", True)

from machine import header  # noqa: E402
from sobirl.experiments.four_rooms.options import FourRoomsRun  # noqa: E402
from sobirl.problems.four_rooms import PUBLISHED  # noqa: E402

# The highest exact leader values that any run of ours has found, of whatever method and budget;
# `--search` looks for higher ones. Keys are (temperature, cost weight).
BEST_KNOWN = {
    (0.001, 1): 1.1772,
    (0.001, 3): 0.9473,
    (0.001, 5): 0.7448,
    (0.003, 1): 1.0177,
    (0.003, 3): 0.7982,
    (0.003, 5): 0.5812,
    (0.005, 1): 1.4737,
    (0.005, 3): 1.3539,
    (0.005, 5): 1.2358,
}


def main() -> None:
    """Print the published table beside ours, and the seconds that each cell took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs a cell, seeds 0, 1, ...")
    parser.add_argument(
        "--search", action="store_true", help="ten times the default's steps, to find better ones"
    )
    arguments = parser.parse_args()
    budget = {"starts": 270, "num_steps": 936} if arguments.search else {}
    print(header())
    print("| τ | β | HPGD | AMD | zero-order | sobirl, by seed | best known | least ratio | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for cell, published in PUBLISHED.items():
        temperature, cost_weight = cell
        values, seconds = [], []
        for seed in range(arguments.seeds):
            options = FourRoomsRun(
                temperature=temperature, cost_weight=cost_weight, seed=seed, quiet=True, **budget
            )
            outcome = options.run()
            values.append(outcome.summary["metrics"]["leader_value"])
            seconds.append(outcome.result.run_seconds)
        mark = "" if min(values) > max(published.values()) else " (below)"
        best = BEST_KNOWN[cell]
        print(
            f"| {temperature} | {cost_weight} | "
            + " | ".join(f"{value:.2f}" for value in published.values())
            + f" | {', '.join(f'{value:.4f}' for value in values)}{mark} "
            f"| {best:.4f} | {min(values) / best:.4f} | {max(seconds):.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
