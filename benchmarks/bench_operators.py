"""How far `expect` and `push` of a `SuccessorList` are from the machine's copy bound.

python benchmarks/bench_operators.py --states 1e5 1e6 --alternatives

A, K = 4, 4 and double precision; on a grid, whose successors are neighbors, and with successors
at random. Counted are the bytes that must move: for every entry its index (4), its probability (8)
and the value or weight that it picks (8); for every state and action 8, the result of `expect` or
the weights of `push`; 8 a state. The copy bound is the time in which NumPy copies half of that to
the other half. At random a picked number comes with a line of 64 bytes of which the rest is not
used: the second bound counts lines, and `numpy.take` shows what picking alone takes.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import scipy.sparse  # noqa: E402

from machine import header  # noqa: E402
from sobirl.mdp import SuccessorList  # noqa: E402

ACTIONS = PLACES = 4


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=float, nargs="+", default=[1e5, 1e6])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--alternatives", action="store_true", help="what was not chosen, too")
    options = parser.parse_args()
    print(header())
    print("| successors | S | what | ms | of the copy | of the copy by lines |")
    print("|---|---|---|---|---|---|")
    for states in map(int, options.states):
        for kind, make in (("grid", grid), ("random", scattered)):
            measure(kind, make(states), options)


def measure(kind: str, successors: np.ndarray, options: argparse.Namespace) -> None:
    """The rows of one law."""
    rng = np.random.default_rng(0)
    states = len(successors)
    probabilities = rng.dirichlet(np.ones(PLACES), (states, ACTIONS))
    law = SuccessorList(successors, probabilities)
    values, weights = jnp.asarray(rng.random(states)), jnp.asarray(rng.random(law.shape))
    bound = copy_seconds(successors.size * 20 + states * (8 * ACTIONS + 8), options.repeats)
    lines = copy_seconds(successors.size * 76 + states * (8 * ACTIONS + 8), options.repeats)

    def row(name: str, call: Callable) -> None:
        seconds = median_seconds(call, options.repeats)
        by_lines = f"{seconds / lines:.1f}" if kind == "random" else ""
        print(
            f"| {kind} | {states:,} | {name} | {1e3 * seconds:.2f} | {seconds / bound:.1f} "
            f"| {by_lines} |",
            flush=True,
        )

    print(f"| {kind} | {states:,} | copy | {1e3 * bound:.2f} | 1 | |")
    expect = jax.jit(lambda law, values: law.expect(values))
    push = jax.jit(lambda law, weights: law.push(weights))
    pushes = jax.jit(lambda law, weights: repeated(law, weights, 20))
    row("expect", lambda: expect(law, values))
    row("push", lambda: push(law, weights))
    seconds = median_seconds(lambda: pushes(law, weights), max(options.repeats // 5, 3)) / 20
    print(
        f"| {kind} | {states:,} | push, in a loop | {1e3 * seconds:.2f} | {seconds / bound:.1f} | |"
    )
    flat, room = successors.ravel(), np.empty(successors.size)
    pairs = np.argsort(flat, kind="stable") // PLACES
    host, host_weights = np.asarray(values), np.asarray(weights).ravel()
    row("numpy.take for expect", lambda: np.take(host, flat, out=room, mode="clip"))
    row("numpy.take for push", lambda: np.take(host_weights, pairs, out=room, mode="clip"))
    if options.alternatives:
        for name, call in alternatives(successors, probabilities, values, weights).items():
            row(name, call)


def repeated(law: SuccessorList, weights: jax.Array, count: int) -> jax.Array:
    """`push` again and again, as solvers do: what does not change is done once."""
    start = jnp.ones(law.shape[0])
    return jax.lax.fori_loop(0, count, lambda _, w: law.push(weights * w[:, None]), start)


def alternatives(successors, probabilities, values, weights) -> dict[str, Callable]:
    """What else there is, by name."""
    states, entries = len(successors), successors.size
    matrix = scipy.sparse.csr_array(
        (probabilities.ravel(), successors.ravel(), np.arange(0, entries + 1, PLACES)),
        shape=(states * ACTIONS, states),
    )
    turned = matrix.T.tocsr()
    s, p = jnp.asarray(successors), jnp.asarray(probabilities)
    order = np.argsort(successors.ravel(), kind="stable")
    rows = jnp.asarray(successors.ravel()[order])
    pairs, kept = jnp.asarray(order // PLACES), jnp.asarray(probabilities.ravel()[order])
    host, host_weights = np.asarray(values), np.asarray(weights).ravel()
    shape = jax.ShapeDtypeStruct((states,), jnp.float64)
    summed = jax.jit(lambda s, p, v: jnp.sum(p * v[s], axis=-1))
    scatter = jax.jit(lambda s, p, m: jnp.zeros(states).at[s].add(m[..., None] * p))
    segments = jax.jit(
        lambda rows, pairs, kept, m: jax.ops.segment_sum(
            kept * m.ravel()[pairs], rows, states, indices_are_sorted=True
        )
    )
    called = jax.jit(
        lambda m: jax.pure_callback(lambda m: matrix.T @ np.asarray(m).ravel(), shape, m)
    )
    return {
        "expect: sum over gathered, int32": lambda: summed(s, p, values),
        "expect: sum over gathered, int64": lambda: summed(s.astype(jnp.int64), p, values),
        "expect: SciPy, on the host": lambda: matrix @ host,
        "push: scatter": lambda: scatter(s, p, weights),
        "push: sorted segments": lambda: segments(rows, pairs, kept, weights),
        "push: SciPy, on the host": lambda: matrix.T @ host_weights,
        "push: SciPy, transposed": lambda: turned @ host_weights,
        "push: SciPy, in a callback": lambda: called(weights),
    }


def grid(states: int) -> np.ndarray:
    """Four moves that may end at any neighbor (S,4,4), on a square."""
    side = int(states**0.5)
    down, right = np.divmod(np.arange(side**2, dtype=np.int32), side)
    neighbors = [
        np.clip(down + i, 0, side - 1) * side + np.clip(right + j, 0, side - 1)
        for i, j in ((1, 0), (0, 1), (-1, 0), (0, -1))
    ]
    turns = [np.roll(np.stack(neighbors, -1), turn, -1) for turn in range(ACTIONS)]
    return np.stack(turns, 1).astype(np.int32)


def scattered(states: int) -> np.ndarray:
    """Successors (S,4,4) at random."""
    shape = (states, ACTIONS, PLACES)
    return np.random.default_rng(1).integers(0, states, shape, dtype=np.int32)


def copy_seconds(count: int, repeats: int) -> float:
    """The time to read half of the bytes and to write the other half."""
    source, target = np.ones(count // 16), np.empty(count // 16)  # zeros would be one page
    return median_seconds(lambda: np.copyto(target, source), repeats)


def median_seconds(call: Callable, repeats: int) -> float:
    """The median, after a call that warms up."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
