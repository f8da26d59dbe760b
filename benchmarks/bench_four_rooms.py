"""The default Four Rooms portfolio on all nine published cells.

python benchmarks/bench_four_rooms.py [--seeds 1]
"""

import argparse

import jax

jax.config.update("jax_enable_x64", True)

from machine import header  # noqa: E402
from sobirl.experiments.four_rooms import FourRoomsRun  # noqa: E402
from sobirl.problems.four_rooms import PUBLISHED  # noqa: E402


def main() -> None:
    """Print the published table beside ours, and the seconds that each cell took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1, help="portfolios a cell, seeds 0, 1, ...")
    seeds = parser.parse_args().seeds
    print(header())
    print("| τ | β | HPGD | AMD | zero-order | sobirl: best | mean | worst start | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for (temperature, cost_weight), published in PUBLISHED.items():
        for seed in range(seeds):
            summary = (
                FourRoomsRun(
                    temperature=temperature, cost_weight=cost_weight, seed=seed, quiet=True
                )
                .run()
                .summary
            )
            metrics = summary["metrics"]
            best, mean, worst = (metrics[f"leader_value{end}"] for end in ("", "_mean", "_worst"))
            mark = "" if best > max(published.values()) else " (below)"
            print(
                f"| {temperature} | {cost_weight} | "
                + " | ".join(f"{value:.2f}" for value in published.values())
                + f" | **{best:.3f}**{mark} | {mean:.3f} | {worst:.3f} "
                f"| {summary['run_seconds']:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
