"""How many labels one needs: returns against labels, for a teacher who errs now and then.

    python benchmarks/bench_labels.py [--out results.jsonl] [--seeds 6] [--cells 4]

A simulated teacher compares fragments and says the opposite with some probability. A cell is an
environment, a number of labels and a probability, with all seeds in one run; what the file has is
not run again. `--cells` ends after so many of them. `--table` prints what is there, `--figure FILE`
draws it.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from machine import header
from sobirl.experiments.rlhf import RLHFRun

# Environment -> steps, and numbers of labels.
ENVIRONMENTS = {
    "CartPole-v1": (60_000, (10, 20, 50, 100, 200)),
    "Pendulum-v1": (20_000, (10, 20, 50, 100, 200)),
}
MISTAKES = (0.0, 0.1, 0.2)
# Okabe and Ito's, with marks that differ too.
STYLES = {0.0: ("#0072b2", "o"), 0.1: ("#e69f00", "s"), 0.2: ("#d55e00", "^")}


def main() -> None:
    """Run what is missing, or show what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/bench_labels.jsonl"))
    parser.add_argument("--seeds", type=int, default=6, help="the seeds 0, 1, ...")
    parser.add_argument("--cells", type=int, help="end after so many")
    parser.add_argument("--table", action="store_true", help="print the table, run nothing")
    parser.add_argument("--figure", type=Path, help="draw the curves, run nothing")
    options = parser.parse_args()
    if options.table:
        print_table(load(options.out))
    if options.figure:
        draw(load(options.out)).savefig(options.figure, dpi=150)
    if options.table or options.figure:
        return
    options.out.parent.mkdir(parents=True, exist_ok=True)
    cells = [
        (env, labels, rate)
        for env, (_, numbers) in ENVIRONMENTS.items()
        for labels in numbers
        for rate in MISTAKES
    ]
    missing = [cell for cell in cells if cell not in load(options.out)]
    for cell in missing[: options.cells]:
        result = run(*cell, options.seeds)
        with options.out.open("a") as file:
            file.write(json.dumps(result) + "\n")
        print(result, flush=True)


def run(env: str, labels: int, rate: float, seeds: int) -> dict:
    """The last returns of every seed, and what it took."""
    options = RLHFRun(
        env=env,
        method="drlhf",
        steps=ENVIRONMENTS[env][0],
        pairs=labels,
        seeds=seeds,
        teacher_temperature=0.0,
        teacher_mistake=rate,
        clips=0,
        figures=False,
        quiet=True,
    )
    options.validate()
    start = time.process_time()
    history = options.run().history
    seconds = round(time.process_time() - start, 1)
    returns = [
        last(history["eval_return"][history["seed"] == seed]) for seed in np.unique(history["seed"])
    ]
    jax.clear_caches()  # a cell's programs serve no other
    cell = {"env": env, "labels": labels, "mistakes": rate}
    return cell | {"returns": returns, "cpu_seconds": seconds}


def last(values: np.ndarray) -> float:
    """The mean over the last fifth of a run's evaluations."""
    values = values[np.isfinite(values)]
    return float(values[-max(len(values) // 5, 1) :].mean())


def load(path: Path) -> dict[tuple[str, int, float], dict]:
    """All results by environment, number of labels and rate of mistakes."""
    lines = path.read_text().splitlines() if path.exists() else []
    results = [json.loads(line) for line in lines]
    return {(r["env"], r["labels"], r["mistakes"]): r for r in results}


def described(returns: list[float]) -> tuple[float, float]:
    """Mean and standard error over seeds."""
    return float(np.mean(returns)), float(np.std(returns, ddof=1) / np.sqrt(len(returns)))


def print_table(results: dict) -> None:
    """A row an environment and a number of labels, a column a rate of mistakes."""
    print(header() + "\n")
    rates = " | ".join(f"{rate:.0%} mistakes" for rate in MISTAKES)
    print(f"| environment | labels | {rates} |\n|---|---|" + "---|" * len(MISTAKES))
    for env, (_, numbers) in ENVIRONMENTS.items():
        for labels in numbers:
            cells = [results.get((env, labels, rate)) for rate in MISTAKES]
            words = ["{:.0f} ± {:.0f}".format(*described(c["returns"])) if c else "" for c in cells]
            print(f"| {env} | {labels} | " + " | ".join(words) + " |")
    print(f"\n{sum(result['cpu_seconds'] for result in results.values()):.0f} seconds of processor")


def draw(results: dict) -> Figure:
    """Mean return over seeds with its standard error against labels, a curve a rate of mistakes."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, len(ENVIRONMENTS))
    for axes, (env, (steps, numbers)) in zip(panels, ENVIRONMENTS.items(), strict=True):
        for rate, (color, mark) in STYLES.items():
            found = [labels for labels in numbers if (env, labels, rate) in results]
            curve = np.array([described(results[env, n, rate]["returns"]) for n in found])
            if len(curve):
                label = f"{rate:.0%} mistakes"
                axes.errorbar(found, *curve.T, color=color, marker=mark, capsize=3, label=label)
        axes.set(
            xscale="log",
            xlabel="labels",
            ylabel="return at the end",
            title=f"{env}, {steps:,} steps",
            xticks=numbers,
            xticklabels=numbers,
        )
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0].set_ylim(0, None)
    panels[0].legend()
    return figure


if __name__ == "__main__":
    main()
