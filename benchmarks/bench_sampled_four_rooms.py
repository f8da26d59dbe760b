"""Model-free methods on both Four Rooms problems, beside the published values.

python benchmarks/bench_sampled_four_rooms.py [--out results.jsonl] [--methods hpgd bc-hg]

Every method has the same portfolio of starts and the same grid of step sizes, tried on another seed
than those that are reported; "two rounds" has more starts, of which a few go on. Results are
appended to the file, and what is there is not run again; `--table` prints the tables of what is
there. All of it takes hours on two cores.
"""

import argparse
import json
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402

from machine import header  # noqa: E402
from sampled_four_rooms import METHODS, ONE_GOAL, STEP_SIZES, TWO_GOALS, Cell, run  # noqa: E402
from sobirl.problems.four_rooms import PUBLISHED, PUBLISHED_ONE_GOAL  # noqa: E402

TUNING_SEEDS = (100,)


def main() -> None:
    """Run what is missing, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path("runs/sampled_four_rooms.jsonl")
    parser.add_argument("--out", type=Path, default=default, help="results, a JSON line a run")
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--goals", type=int, nargs="*", default=[2, 1], help="which problems")
    parser.add_argument("--seeds", type=int, default=10, help="reported seeds, 0, 1, ...")
    parser.add_argument("--table", action="store_true", help="print the tables, run nothing")
    options = parser.parse_args()
    done = Results(options.out)
    if options.table:
        done.print_tables()
        return
    cells = [cell for cell in (*TWO_GOALS, *ONE_GOAL) if cell.goals in options.goals]
    for name in options.methods:
        for cell in cells:
            for seed in TUNING_SEEDS:
                for step_size in STEP_SIZES:
                    done.get(name, cell, step_size, seed)
            step_size = done.tuned(name, cell)
            for seed in range(options.seeds):
                done.get(name, cell, step_size, seed)
            jax.clear_caches()  # compiled programs are many memory maps, and those are counted


class Results:
    """The runs in a file, one JSON object a line."""

    def __init__(self, path: Path):
        """Read what is there."""
        self.path, self.runs = path, {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            for line in path.read_text().splitlines():
                self._keep(json.loads(line))

    def get(self, name: str, cell: Cell, step_size: float, seed: int) -> dict:
        """A run, carried out if it is missing."""
        key = (name, cell, step_size, seed)
        if key not in self.runs:
            found = run(*key)
            self._keep(found)
            with self.path.open("a") as file:
                file.write(json.dumps(found) + "\n")
            print(name, cell, step_size, seed, f"{found['value']:.3f}", flush=True)
        return self.runs[key]

    def tuned(self, name: str, cell: Cell) -> float:
        """The step size with the best mean over the tuning seeds."""
        means = {
            step_size: np.mean([self.runs[name, cell, step_size, s]["value"] for s in TUNING_SEEDS])
            for step_size in STEP_SIZES
            if all((name, cell, step_size, s) in self.runs for s in TUNING_SEEDS)
        }
        return max(means, key=means.get)

    def reported(self, name: str, cell: Cell) -> list[dict]:
        """The runs with the tuned step size on the reported seeds."""
        return [
            found
            for (method, where, step_size, seed), found in self.runs.items()
            if (method, where) == (name, cell)
            and seed not in TUNING_SEEDS
            and step_size == self.tuned(name, cell)
        ]

    def print_tables(self) -> None:
        """Mean ± standard error of the chosen start's exact leader value, one row a cell."""
        print(header())
        names = [name for name in METHODS if any(key[0] == name for key in self.runs)]
        for title, cells, published in (
            ("two goals", TWO_GOALS, {(*c, 10_000): v for c, v in PUBLISHED.items()}),
            ("one goal", ONE_GOAL, PUBLISHED_ONE_GOAL),
        ):
            peers = list(next(iter(published.values())))
            print(f"\n{title}\n\n| τ | β | steps | {' | '.join([*names, *peers])} |")
            print("|---" * (3 + len(names) + len(peers)) + "|")
            for cell in cells:
                known = published[cell.temperature, cell.cost_weight, cell.steps]
                highest = max(known.values())
                row = [self._entry(name, cell, highest) for name in names]
                row += [f"{known[peer]:.2f}" for peer in peers]
                print(
                    f"| {cell.temperature} | {cell.cost_weight:g} | {cell.steps} | "
                    f"{' | '.join(row)} |"
                )

    def _entry(self, name: str, cell: Cell, highest: float) -> str:
        runs = self.reported(name, cell) if any(k[:2] == (name, cell) for k in self.runs) else []
        if not runs:
            return ""
        values = np.array([found["value"] for found in runs])
        mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
        text = f"{mean:.3f} ± {error:.3f}"
        return f"**{text}**" if mean > highest else text

    def _keep(self, found: dict) -> None:
        cell = Cell(*found["cell"])
        self.runs[found["method"], cell, found["step_size"], found["seed"]] = found


if __name__ == "__main__":
    main()
