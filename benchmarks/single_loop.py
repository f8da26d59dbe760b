"""Shared by bench_convergence.py and bench_divergence.py: instances, methods, trajectories, tables.

Import it before numpy: it puts LAPACK on one thread, which is read when numpy is loaded.
"""

import argparse
import dataclasses
import functools
import os
from pathlib import Path
from typing import ClassVar

# At these sizes a second thread gains nothing, and where another process holds its core, the first
# waits for it (22 s instead of 0.5 s were seen).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax

jax.config.update("jax_enable_x64", True)

import equinox as eqx  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402

import sobirl as sb  # noqa: E402
from sobirl.hypergrad.m_sobirl import MSoBiRLState  # noqa: E402
from sobirl.hypergrad.warm_start import WarmStart  # noqa: E402
from sobirl.problems.random_mdp import RandomMDP, TargetPolicy  # noqa: E402

Instance = RandomMDP | TargetPolicy

KEY = jax.random.key(0)  # of methods that need none
FAMILIES = {"target": "TargetPolicy", "hub": "TargetPolicy, hub", "paper": "the paper's"}
ACTIONS, DIMENSION = 5, 100
PAPER_ZETA, SWEEPS = 0.5, 10
ZETAS = (PAPER_ZETA, 1.0, 2.0)


def make_instance(family: str, states: int, seed: int, discount: float = 0.5) -> Instance:
    """A random instance of one of the three families; "hub": all transitions to one state."""
    kind = RandomMDP if family == "paper" else TargetPolicy
    instance = kind.generate(states, ACTIONS, DIMENSION, seed)
    if family == "hub":
        hub = np.zeros_like(instance.transition)
        hub[:, :, 0] = 1
        instance = dataclasses.replace(instance, transition=hub)
    return dataclasses.replace(instance, discount=discount)


def arrays_of(instance: Instance) -> dict[str, jax.Array]:
    """The instance as arguments of a compiled program, so that one program serves all seeds."""
    fields = dataclasses.asdict(instance).items()
    return {name: jnp.asarray(value) for name, value in fields if value is not None}


class SolvedValue(eqx.Module):
    """M-SoBiRL with V at its fixed point before every step: policies sum to 1, w still lags."""

    method: sb.MSoBiRL
    objective_is_exact: ClassVar[bool] = True

    def init(self, problem, x, key) -> tuple[MSoBiRLState, WarmStart]:
        """M-SoBiRL's state before its first step, and no factors yet."""
        state = self.method.init(problem, x, key)
        return state, WarmStart.cold(problem.lower(x), sb.PolicyIteration())

    def estimate(self, problem, x, state, key):
        """M-SoBiRL's estimate with V*(x)."""
        state, start = state
        solution, start = start.solve(problem.lower(x), sb.PolicyIteration())
        state = MSoBiRLState(solution.value, state.adjoint, jnp.array(False))
        estimate, state, metrics = self.method.estimate(problem, x, state, key)
        return estimate, (state, start), metrics


def make_methods(instance: Instance) -> dict[str, object]:
    """Every method that is run, from V = 0 and the instance's first adjoint."""
    adjoint = getattr(instance, "w0", None)
    start = {
        "sweeps": SWEEPS,
        "initial_adjoint": None if adjoint is None else jnp.asarray(adjoint),
    }
    normal = {zeta: sb.MSoBiRL(adjoint_step_size=jnp.asarray(zeta), **start) for zeta in ZETAS}
    occupancy = sb.MSoBiRL("occupancy", **start)
    return {
        "Exact": sb.Exact(),
        "occupancy": occupancy,
        "occupancy, normalized": sb.MSoBiRL("occupancy", normalize=True, **start),
        **{f"normal, ζ = {zeta:g}": method for zeta, method in normal.items()},
        "V solved: occupancy": SolvedValue(occupancy),
        f"V solved: ζ = {PAPER_ZETA:g}": SolvedValue(normal[PAPER_ZETA]),
    }


@functools.partial(jax.jit, static_argnames=("kind", "size"))
def trajectory(kind, arrays, method, learning_rate, size):
    """Of plain gradient descent: ‖∇φ(x_k)‖² and the squared norm of the method's estimate (K,)."""
    problem, exact = kind(**arrays).problem(), sb.Exact()
    x = arrays["x0"]

    def step(carry, _):
        x, state, warm = carry
        gradient, warm, _ = exact.estimate(problem, x, warm, KEY)
        estimate, state, _ = method.estimate(problem, x, state, KEY)
        norms = jnp.sum(gradient**2), jnp.sum(estimate**2)
        return (x - learning_rate * estimate, state, warm), norms

    start = x, method.init(problem, x, KEY), exact.init(problem, x, KEY)
    return jax.lax.scan(step, start, None, length=size)[1]


@functools.partial(jax.jit, static_argnames="kind")
def descend(kind, arrays, x, method, learning_rate, steps):
    """x after `steps` steps, and the last estimate's norm; ends early where that is not finite."""
    problem = kind(**arrays).problem()

    def unfinished(carry):
        done, _, _, norm = carry
        return (done < steps) & jnp.isfinite(norm)

    def step(carry):
        done, x, state, _ = carry
        estimate, state, _ = method.estimate(problem, x, state, KEY)
        norm = optax.tree.norm(estimate)
        return done + 1, jnp.where(jnp.isfinite(norm), x - learning_rate * estimate, x), state, norm

    start = 0, x, method.init(problem, x, KEY), jnp.zeros(())
    _, x, _, norm = jax.lax.while_loop(unfinished, step, start)
    return x, norm


def progress(instance: Instance, method, learning_rate: float, steps: int) -> float:
    """‖∇φ(x_K)‖/‖∇φ(x_0)‖, exact, after K = `steps` of the method; not finite where it was not."""
    kind, arrays = type(instance), arrays_of(instance)

    def exact_norm(x):
        return float(descend(kind, arrays, x, sb.Exact(), 0.0, 1)[1])

    x, norm = descend(kind, arrays, arrays["x0"], method, learning_rate, steps)
    return exact_norm(x) / exact_norm(arrays["x0"]) if np.isfinite(norm) else np.nan


def print_head(columns) -> None:
    """The first two lines of a Markdown table."""
    print_row(columns)
    print("|---" * len(columns) + "|")


def print_row(cells) -> None:
    """A line of a Markdown table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def parse_options(description: str) -> argparse.Namespace:
    """`quick` and `figures`, whose folder is made."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--figures", type=Path, help="folder for the figure")
    options = parser.parse_args()
    if options.figures:
        options.figures.mkdir(parents=True, exist_ok=True)
    return options
