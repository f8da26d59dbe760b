"""Model-free methods on both Four Rooms problems, beside the published values.

python benchmarks/bench_sampled_four_rooms.py [--out results.jsonl] [--methods hpgd bc-hg]

Every method has the same portfolio of starts and the same grid of step sizes, tried on another seed
than those that are reported; "two rounds" has more starts, of which a few go on. Results are
appended to the file, and what is there is not run again; `--table` prints the tables of what is
there, `--figures FOLDER` draws the curves. All of it takes hours on two cores.
"""

import argparse
import json
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402

from figures_sampled import color_of, learning_curves  # noqa: E402
from machine import header  # noqa: E402
from sampled_four_rooms import (  # noqa: E402
    METHODS,
    ONE_GOAL,
    STEP_SIZES,
    TWO_GOALS,
    Cell,
    progress,
    run,
)

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
    parser.add_argument("--figures", type=Path, help="draw the curves there, run nothing")
    options = parser.parse_args()
    done = Results(options.out)
    if options.table:
        done.print_tables()
    if options.figures:
        done.draw(options.figures)
    if options.table or options.figures:
        return
    cells = [cell for cell in (*TWO_GOALS, *ONE_GOAL) if cell.goals in options.goals]
    for name in options.methods:
        for cell in cells:
            for seed in TUNING_SEEDS:
                for learning_rate in STEP_SIZES:
                    done.get(name, cell, learning_rate, seed)
            learning_rate = done.tuned(name, cell)
            for seed in range(options.seeds):
                done.get(name, cell, learning_rate, seed)
            jax.clear_caches()  # compiled programs are many memory maps, and those are counted


def published(cell: Cell) -> dict[str, float]:
    """The published values of the other methods."""
    return cell.design().published(cell.steps)


class Results:
    """The runs in a file, one JSON object a line."""

    def __init__(self, path: Path):
        """Read what is there."""
        self.path, self.runs = path, {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            for line in path.read_text().splitlines():
                self._keep(json.loads(line))

    def get(self, name: str, cell: Cell, learning_rate: float, seed: int) -> dict:
        """A run, carried out if it is missing."""
        key = (name, cell, learning_rate, seed)
        if key not in self.runs:
            found = run(*key)
            self._keep(found)
            with self.path.open("a") as file:
                file.write(json.dumps(found) + "\n")
            print(name, cell, learning_rate, seed, f"{found['value']:.3f}", flush=True)
        return self.runs[key]

    def tuned(self, name: str, cell: Cell) -> float:
        """The step size with the best mean over the tuning seeds."""
        means = {
            learning_rate: np.mean(
                [self.runs[name, cell, learning_rate, s]["value"] for s in TUNING_SEEDS]
            )
            for learning_rate in STEP_SIZES
            if all((name, cell, learning_rate, s) in self.runs for s in TUNING_SEEDS)
        }
        return max(means, key=means.get)

    def reported(self, name: str, cell: Cell) -> list[dict]:
        """The runs with the tuned step size on the reported seeds."""
        reported = [
            found
            for (method, where, _, seed), found in self.runs.items()
            if (method, where) == (name, cell) and seed not in TUNING_SEEDS
        ]
        return [found for found in reported if found["learning_rate"] == self.tuned(name, cell)]

    def print_tables(self) -> None:
        """Mean ± standard error of the chosen start's exact leader value, one row a cell."""
        print(header())
        for title, cells in (("two goals", TWO_GOALS), ("one goal", ONE_GOAL)):
            self._print_table(f"{title}: ours, and the paper's", cells, METHODS[:4])
            self._print_table(f"{title}: other methods, our implementation", cells, METHODS[4:])

    def _print_table(self, title: str, cells: tuple[Cell, ...], names: tuple[str, ...]) -> None:
        peers = [f"{name}, published" for name in published(cells[0])]
        print(f"\n**{title}**\n\n| τ | β | steps | {' | '.join([*names, *peers])} |")
        print("|---" * (3 + len(names) + len(peers)) + "|")
        for cell in cells:
            known = published(cell).values()
            row = [self._entry(name, cell, max(known)) for name in names]
            row += [f"{value:.2f}" for value in known]
            print(
                f"| {cell.temperature} | {cell.cost_weight:g} | {cell.steps} | {' | '.join(row)} |"
            )

    def draw(self, folder: Path) -> None:
        """The curves against environment steps and against seconds."""
        for unit, along in (
            ("environment_steps", "environment steps, all starts together"),
            ("seconds", "seconds, all starts together"),
        ):
            panels = [self._panel(cell, unit) for cell in (*TWO_GOALS, *ONE_GOAL)]
            name = f"sampled-four-rooms-{unit.replace('_', '-')}.png"
            learning_curves(panels, along).savefig(folder / name, dpi=110)

    def _panel(self, cell: Cell, unit: str) -> dict:
        curves = {}
        for name in METHODS:
            runs = self.reported(name, cell)
            total = np.median([found[unit] for found in runs]) if runs else 0
            if total:
                values = np.array([found["curve"] for found in runs])
                curves[name] = color_of(name), total * progress(name, cell), values
        goals = "two goals" if cell.goals == 2 else "one goal"
        return {
            "title": f"{goals}, {cell.steps:,} steps, τ = {cell.temperature}, "
            f"β = {cell.cost_weight:g}",
            "published": max(published(cell).values()),
            "curves": curves,
        }

    def _entry(self, name: str, cell: Cell, highest: float) -> str:
        runs = self.reported(name, cell)
        if not runs:
            return ""
        values = np.array([found["value"] for found in runs])
        mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
        text = f"{mean:.3f} ± {error:.3f}"
        return f"**{text}**" if mean > highest else text

    def _keep(self, found: dict) -> None:
        cell = Cell(*found["cell"])
        self.runs[found["method"], cell, found["learning_rate"], found["seed"]] = found


if __name__ == "__main__":
    main()
