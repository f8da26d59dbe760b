"""Rewards from preferences: SoBiRL, DRLHF and the true reward on five environments.

python benchmarks/bench_rlhf.py [--out results.jsonl] [--envs CartPole-v1] [--variants sobirl drlhf]

Every method has the same steps, the same pairs, the same preset and the seeds 0, 1, ...; nothing is
tuned for one of them. Results are appended to the file, and what is there is not run again, so that
two processes can share the work. `--table` prints the tables of what is there, `--figures FOLDER`
draws the curves. All of it takes hours on two cores.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import numpy as np

from figures_rlhf import ablation_figure, learning_figure
from machine import header
from sobirl.experiments.rlhf import RLHFRun

# Environment -> the options that are not the preset's.
CONTROL = {"steps": 300_000, "pairs": 300, "eval_every": 3}
# Points are rare on boards: most pairs are ties, which an honest teacher calls so.
BOARDS = {
    "steps": 200_000,
    "pairs": 1000,
    "teacher_temperature": 0.1,
    "teacher_tie_within": 0.5,
    "eval_every": 3,
    "eval_steps": 1000,
}
ENVIRONMENTS = {
    "CartPole-v1": CONTROL,
    "Acrobot-v1": CONTROL,
    "Breakout-MinAtar": BOARDS,
    "Asterix-MinAtar": BOARDS,
    "SpaceInvaders-MinAtar": BOARDS,
}
METHODS = {
    "ground-truth": {"method": "ground-truth"},
    "drlhf": {"method": "drlhf"},
    "sobirl": {"method": "sobirl"},
}
# The implicit term with more and more of what follows a step; drlhf has none, sobirl horizon 0.
ABLATION = {
    "drlhf": METHODS["drlhf"],
    "sobirl": METHODS["sobirl"],
    "horizon 10": {"method": "sobirl", "horizon": 10},
    "horizon full": {"method": "sobirl", "horizon": "full"},
}
# First to where one has not been, on an environment whose goal chance seldom finds.
PRETRAINED = {
    f"{name}, pre-trained": options | {"pretrain_steps": 20_480}
    for name, options in METHODS.items()
}
VARIANTS = METHODS | ABLATION | PRETRAINED
ABLATED, EXPLORED = "CartPole-v1", "Acrobot-v1"
REACHED = -150  # an episode without the goal is -500
KEPT = ("environment_steps", "eval_return", "preference_accuracy", "implicit_ratio")


def main() -> None:
    """Run what is missing, or show what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path("runs/bench_rlhf.jsonl")
    parser.add_argument("--out", type=Path, default=default, help="results, a JSON line a run")
    parser.add_argument("--envs", nargs="*", default=list(ENVIRONMENTS))
    parser.add_argument("--variants", nargs="*", default=list(METHODS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=5, help="the seeds 0, 1, ...")
    parser.add_argument("--table", action="store_true", help="print the tables, run nothing")
    parser.add_argument("--figures", type=Path, help="draw the curves there, run nothing")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if options.table:
        print_tables(load(options.out))
    if options.figures:
        draw(load(options.out), options.figures)
    if options.table or options.figures:
        return
    for seed in range(options.seeds):
        for env in options.envs:
            for variant in options.variants:
                if (env, variant, seed) not in load(options.out):
                    result = run(env, variant, seed)
                    with options.out.open("a") as file:
                        file.write(json.dumps(result) + "\n")
                    print(env, variant, seed, result["seconds"], result["eval_return"][-1])


def run(env: str, variant: str, seed: int) -> dict:
    """The curves of one run, rounds with an evaluation only."""
    options = RLHFRun(env=env, seed=seed, clips=0, **ENVIRONMENTS[env], **VARIANTS[variant])
    options.validate()
    start = time.perf_counter()
    history = options.run().history
    evaluated = np.isfinite(history["eval_return"])
    curves = {name: history[name][evaluated].tolist() for name in KEPT if name in history}
    seconds = round(time.perf_counter() - start, 1)
    jax.clear_caches()  # a run's programs serve no other; a process has room for some 50,000
    return {"env": env, "variant": variant, "seed": seed, "seconds": seconds, **curves}


def load(path: Path) -> dict[tuple[str, str, int], dict]:
    """All results by environment, variant and seed."""
    lines = path.read_text().splitlines() if path.exists() else []
    results = [json.loads(line) for line in lines]
    return {(r["env"], r["variant"], r["seed"]): r for r in results}


def curves_of(results: dict, env: str, variant: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Environment steps (T,) and values (seeds,T), on the steps of the first seed."""
    runs = [r for (e, v, _), r in sorted(results.items()) if (e, v) == (env, variant)]
    if not runs:
        return np.zeros(0), np.zeros((0, 0))
    steps = np.array(runs[0]["environment_steps"])
    return steps, np.array([np.interp(steps, r["environment_steps"], r[name]) for r in runs])


def final(values: np.ndarray) -> np.ndarray:
    """The mean over the last fifth of a run's evaluations (seeds,)."""
    return values[:, -max(values.shape[1] // 5, 1) :].mean(axis=1)


def described(values: np.ndarray) -> str:
    """Mean ± standard error over seeds."""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{values.mean():.4g} ± {error:.2g}"


def verdict(difference: np.ndarray) -> str:
    """What the paired differences between two methods say at two standard errors."""
    if len(difference) < 2:
        return "one seed"
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    if abs(difference.mean()) <= 2 * error:
        return f"tie ({difference.mean():+.3g} ± {error:.2g})"
    return f"{'sobirl' if difference.mean() > 0 else 'drlhf'} ({difference.mean():+.3g})"


def print_tables(results: dict) -> None:
    """Final returns of the methods everywhere, of the ablation, and of pre-training."""
    print(header() + "\n")
    print("| environment | seeds | " + " | ".join(METHODS) + " | sobirl against drlhf |")
    print("|---|" + "---|" * (len(METHODS) + 2))
    for env in ENVIRONMENTS:
        values = {
            v: final(curves_of(results, env, v, "eval_return")[1])
            for v in METHODS
            if curves_of(results, env, v, "eval_return")[1].size
        }
        if len(values) < len(METHODS):
            continue
        count = min(map(len, values.values()))
        cells = " | ".join(described(values[v]) for v in METHODS)
        compared = verdict(values["sobirl"][:count] - values["drlhf"][:count])
        print(f"| {env} | {count} | {cells} | {compared} |")
    print(f"\n| {ABLATED} | seeds | final return | preferences predicted |\n|---|---|---|---|")
    for variant in ABLATION:
        values = curves_of(results, ABLATED, variant, "eval_return")[1]
        if values.size:
            accuracy = final(curves_of(results, ABLATED, variant, "preference_accuracy")[1])
            row = f"{described(final(values))} | {100 * accuracy.mean():.1f} %"
            print(f"| {variant} | {len(values)} | {row} |")
    print(f"\n| {EXPLORED} | seeds | final return | seeds above {REACHED} at the end |")
    print("|---|---|---|---|")
    for variant in METHODS | PRETRAINED:
        values = curves_of(results, EXPLORED, variant, "eval_return")[1]
        if values.size:
            good = int(np.sum(final(values) > REACHED))
            print(f"| {variant} | {len(values)} | {described(final(values))} | {good} |")


def draw(results: dict, folder: Path) -> None:
    """The curves of the methods, and of the ablation."""
    folder.mkdir(parents=True, exist_ok=True)

    def curves(env, variants):
        found = {v: curves_of(results, env, v, "eval_return") for v in variants}
        return {v: curve for v, curve in found.items() if curve[1].size}

    panels = {env: curves(env, METHODS) for env in ENVIRONMENTS}
    learning_figure(panels).savefig(folder / "rlhf-returns.png", dpi=150)
    ablation_figure(ABLATED, curves(ABLATED, ABLATION)).savefig(
        folder / "rlhf-ablation.png", dpi=150
    )


if __name__ == "__main__":
    main()
