"""Bias and variance of every method at a fixed x, on three problems.

python benchmarks/bench_estimators.py [--figure docs/figures/estimators.png] [--problems ...]

Prints, relative to the size of the exact hyper-gradient: the bias (with its standard error), the
standard deviation of one estimate, its environment steps, and the standard deviation that 1,000
environment steps give. Methods that learn along the way (BC-HG, fitted tables, AMD, PBRL) are
looked at once they have had `--warm-up` estimates at this x. PlugIn keeps all that it has seen, so
that its estimates are no independent draws: for it, runs from nothing are repeated, and what is
shown is the last of so many estimates and the steps of all of them.
"""

import argparse
import dataclasses
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.flatten_util import ravel_pytree  # noqa: E402

from figures_sampled import bias_and_deviation  # noqa: E402
from machine import header  # noqa: E402
from sobirl.bilevel import BilevelProblem  # noqa: E402
from sobirl.core.protocols import Method  # noqa: E402
from sobirl.hypergrad import (  # noqa: E402
    AMD,
    BCHG,
    HPGD,
    PBRL,
    AdvantageTrace,
    Exact,
    Naive,
    PlugIn,
    SoBiRL,
    StocSoBiRL,
    ZeroOrder,
)
from sobirl.problems.four_rooms import FourRooms, random_start  # noqa: E402
from sobirl.problems.preferences import Preferences  # noqa: E402
from sobirl.problems.random_incentives import RandomIncentives  # noqa: E402

BATCHES = 5  # of PlugIn
KEY = jax.random.key(0)  # of methods that need none


@dataclasses.dataclass(frozen=True)
class Estimates:
    """What many estimates at one x came to, relative to the exact hyper-gradient's norm."""

    bias: float
    error: float  # of the bias
    deviation: float
    steps: float

    @property
    def deviation_per_1000(self) -> float:
        """The standard deviation that the mean of 1,000 steps' worth of estimates has."""
        return self.deviation * np.sqrt(self.steps / 1000)


def measure(problem, exact, method: Method, x, count: int, warm_up: int) -> Estimates:
    """`count` estimates in a row, after some that only teach."""

    def one(state, key):
        estimate, state, metrics = method.estimate(problem, x, state, key)
        return state, (ravel_pytree(estimate)[0], metrics.get("environment_steps", jnp.zeros(())))

    @jax.jit
    def run(key):
        keys = jax.random.split(key, warm_up + count)
        state = method.init(problem, x, key)
        return jax.lax.scan(one, state, keys)[1]

    if isinstance(method, PlugIn):

        @jax.jit
        def repeat(keys):
            def last(key):
                state = method.init(problem, x, key)
                estimates, steps = jax.lax.scan(one, state, jax.random.split(key, BATCHES))[1]
                return estimates[-1], jnp.sum(steps)

            return jax.lax.map(last, keys)

        count = max(2, count // BATCHES)
        estimates, steps = map(np.asarray, repeat(jax.random.split(jax.random.key(0), count)))
    else:
        estimates, steps = (np.asarray(leaf)[warm_up:] for leaf in run(jax.random.key(0)))
    size = np.linalg.norm(exact)
    # What is left of the difference once the noise of the mean is taken off.
    difference = np.sum((estimates.mean(0) - exact) ** 2)
    noise = np.sum(estimates.var(0, ddof=1)) / count
    return Estimates(
        bias=np.sqrt(max(difference - noise, 0)) / size,
        error=np.sqrt(noise) / size,
        deviation=np.sqrt(noise * count) / size,
        steps=float(np.mean(steps)),
    )


def of_returns(envs: int, length: int) -> dict[str, Method]:
    """The methods for a leader's return, with the same number of steps each."""
    return {
        f"PlugIn, {BATCHES} batches": PlugIn(envs, length),
        "AdvantageTrace, fitted": AdvantageTrace(envs, length),
        "AdvantageTrace, exact": AdvantageTrace(envs, length, advantage="exact"),
        "AdvantageTrace, rollouts": AdvantageTrace(envs, length, advantage="rollouts"),
        "HPGD, on-policy": HPGD(envs, length),
        "HPGD, uniform": HPGD(envs, length, sampling="uniform"),
        "HPGD, single start": HPGD(envs, length, sampling="single_start"),
        "BC-HG": BCHG(envs, length),
        "Naive": Naive(envs, length),
        "ZeroOrder": ZeroOrder(0.1, num_envs=envs, rollout_steps=length),
        "AMD, T = 20": AMD(20),
        "AMD, T = 100": AMD(100),
        "PBRL, value": PBRL(100.0),
        "PBRL, value, walks": PBRL(100.0, num_walks=envs),
        "PBRL, Bellman": PBRL(100.0, kind="bellman"),
    }


def of_losses(tuples: int) -> dict[str, Method]:
    """The methods for a loss of trajectories."""
    return {
        "SoBiRL, full": SoBiRL(tuples),
        "SoBiRL, no baseline": SoBiRL(tuples, baseline=False),
        "SoBiRL, fitted": SoBiRL(tuples, tails="fitted"),
        "SoBiRL, horizon 0": SoBiRL(tuples, horizon=0),
        "SoBiRL, horizon 3": SoBiRL(tuples, horizon=3),
        "Stoc-SoBiRL": StocSoBiRL(tuples),
    }


def problems() -> dict[str, tuple]:
    """By name: the problem, an x, and by method the problem as that one wants it."""
    incentives = RandomIncentives.generate(steers_transitions=True)
    preferences = Preferences.generate(states=3, actions=2, horizon=3)
    rooms = FourRooms(temperature=0.005).problem()
    truncated = BilevelProblem(
        rooms.follower, rooms.objective.as_trajectory_loss(200), contexts=rooms.contexts
    )
    on_losses = {
        **of_losses(16),
        "ZeroOrder, exact": ZeroOrder(0.1, num_envs=None),
        "AMD, T = 20": AMD(20),
        "PBRL, value": PBRL(100.0),
        "PBRL, Bellman": PBRL(100.0, kind="bellman"),
    }
    rooms_x = random_start(jax.random.key(0), 1.0)
    of_return = {name: (rooms, m) for name, m in of_returns(25, 200).items()}
    of_loss = {
        name: (truncated, m)
        for name, m in of_losses(25).items()
        if name in ("SoBiRL, fitted", "SoBiRL, horizon 0")
    }
    first, last = incentives.problem(), preferences.problem()
    of_incentives = {
        name: (first, method)
        for name, method in of_returns(10, 50).items()
        if "walks" not in name and "PlugIn" not in name  # they are for rewards only
    }
    return {
        "random incentives": (
            first,
            incentives.x0(),
            of_incentives,
        ),
        "preferences": (
            last,
            jnp.full(4, 0.5),
            {name: (last, method) for name, method in on_losses.items()},
        ),
        "Four Rooms, τ = 0.005": (rooms, rooms_x, {**of_return, **of_loss}),
    }


def main() -> None:
    """Measure, print a table a problem, and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", type=Path, help="where to write the figure")
    parser.add_argument("--count", type=int, default=1000, help="estimates by each method")
    parser.add_argument("--warm-up", type=int, default=100, help="estimates that only teach")
    options = parser.parse_args()
    print(header())
    found = {}
    for name, (problem, x, contenders) in problems().items():
        method = Exact()
        gradient = jax.jit(
            lambda x, p=problem, m=method: m.estimate(p, x, m.init(p, x, KEY), KEY)[0]
        )(x)
        exact = np.asarray(ravel_pytree(gradient)[0])
        print(f"\n{name}, ‖∇φ‖ = {np.linalg.norm(exact):.3g}\n")
        print("| method | bias | its error | deviation | steps | deviation per 1,000 steps |")
        print("|---|---|---|---|---|---|")
        found[name] = {}
        for label, (own, contender) in contenders.items():
            one = measure(own, exact, contender, x, options.count, options.warm_up)
            found[name][label] = one
            print(
                f"| {label} | {one.bias:.3f} | {one.error:.3f} | {one.deviation:.3f} "
                f"| {one.steps:.0f} | {one.deviation_per_1000:.3f} |",
                flush=True,
            )
    if options.figure:
        bias_and_deviation(found).savefig(options.figure, dpi=110)


if __name__ == "__main__":
    main()
