"""Time per M-SoBiRL iteration on the paper's random MDP, beside the authors' code if it is there.

    python benchmarks/bench_m_sobirl.py
    python benchmarks/bench_m_sobirl.py --authors PATH    # the folder with their RanMDP.py

Their code needs torch (and, as it is run here, nothing else: its logging is replaced by a clock).
"""

import argparse
import contextlib
import importlib.util
import io
import itertools
import statistics
import sys
import time
import types
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import optax  # noqa: E402

import sobirl as sb  # noqa: E402
from machine import header  # noqa: E402

SIZES = ((10, 5, 100), (50, 5, 100))  # (S, A, n)


def ours(states: int, actions: int, dimension: int, repeats: int) -> float:
    """Median microseconds an iteration, in runs of the whole `minimize` loop after compilation."""
    instance = sb.problems.random_mdp.RandomMDP.generate(states, actions, dimension, seed=3)
    # From the paper's x0 most larger instances overflow at once, in the authors' code too.
    x0 = instance.x0 * 10 / states
    method = sb.MSoBiRL(initial_adjoint=instance.w0)
    times = []
    for _ in range(repeats):
        result = sb.minimize(
            instance.problem(),
            x0,
            method,
            optax.sgd(instance.learning_rate),
            num_steps=3000 if states <= 50 else 300,
            progress=False,
        )
        times.append(result.run_seconds / result.steps * 1e6)
    return statistics.median(times)


def authors(path: Path, states: int, actions: int, iterations: int) -> float:
    """Median microseconds an iteration of the authors' loop (their x has 100 entries)."""
    ticks = []

    class Done(Exception):
        pass

    class Clock:
        """Stands in for the logging packages: every attribute and call gives a clock."""

        def __init__(self, *_, **__):
            pass

        def __getattr__(self, _):
            return self

        def __call__(self, *_, **__):
            return self

        def add_scalar(self, name, *_):
            """A tick at every logged hyper-gradient."""
            if name == "hyper_grad":
                ticks.append(time.perf_counter())
            if len(ticks) > iterations:
                raise Done

    logging = types.ModuleType("tensorboard")
    logging.SummaryWriter = Clock
    sys.modules["torch.utils.tensorboard"] = logging
    sys.modules["wandb"] = Clock()
    spec = importlib.util.spec_from_file_location("authors_code", path / "RanMDP.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.device = "cpu"
    args = types.SimpleNamespace(
        gamma=0.5, seed=3, gym_id="", exp_name="", wandb_project_name="", wandb_entity=None
    )
    problem = module.RandMDP(states, actions, args)
    with contextlib.suppress(Done), contextlib.redirect_stdout(io.StringIO()):
        problem.M_SoBiRL()
    return statistics.median(b - a for a, b in itertools.pairwise(ticks)) * 1e6


def main() -> None:
    """Print a table of microseconds an iteration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--authors", type=Path, help="folder with the authors' RanMDP.py")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(header())
    print("| S | A | n | sobirl, µs | authors' code, µs | ratio |")
    print("|---|---|---|---|---|---|")
    for states, actions, dimension in SIZES:
        time_ours = ours(states, actions, dimension, options.repeats)
        theirs = ratio = ""
        if options.authors:
            iterations = 200 if states == 10 else 20
            time_theirs = authors(options.authors, states, actions, iterations)
            theirs, ratio = f"{time_theirs:.0f}", f"{time_theirs / time_ours:.0f}"
        print(
            f"| {states} | {actions} | {dimension} | {time_ours:.1f} | {theirs} | {ratio} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
