"""The work of an update on screens, and how much of the machine's peak it reaches.

python benchmarks/bench_screens.py

An update of soft actor-critic: a batch of 64 stacks of four 84 × 84 frames, 9 actions, the usual
network. Operations are XLA's count, the peak that of one large product of matrices.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from machine import header
from sobirl.deep.discrete_sac import DiscreteSAC
from sobirl.experience.replay import Transitions

BATCH, SCREEN, ACTIONS, SIZE, REPEATS = 64, (84, 84, 4), 9, 2048, 10


def main() -> None:
    """Count, time, compare."""
    jax.config.update("jax_enable_x64", False)
    follower = DiscreteSAC(SCREEN, num_actions=ACTIONS, widths=(512,))
    state = follower.init(jax.random.key(0))
    random = np.random.default_rng(0)
    screens = [jnp.asarray(random.integers(0, 256, (BATCH, *SCREEN), np.uint8)) for _ in range(2)]
    batch = Transitions(
        observation=screens[0],
        action=jnp.zeros(BATCH, jnp.int32),
        reward=jnp.ones(BATCH),
        next_observation=screens[1],
        terminated=jnp.zeros(BATCH, bool),
        weight=jnp.ones(BATCH),
    )
    key = jax.random.key(1)
    update = jax.jit(lambda state, batch: follower.update(state, batch, None, key))
    update = update.lower(state, batch).compile()
    forward = jax.jit(lambda actor, screens: actor.batched(screens))
    forward = forward.lower(state.actor, screens[0]).compile()
    square = jnp.asarray(random.normal(size=(SIZE, SIZE)).astype(np.float32))
    product = jax.jit(jnp.matmul)
    peak = 2 * SIZE**3 / 1e9 / seconds(lambda: product(square, square))
    print(header())
    print("| | GFLOP | seconds | GFLOP/s | of a product of matrices |\n|---|---|---|---|---|")
    for name, call, compiled in (
        ("one network, forward", lambda: forward(state.actor, screens[0]), forward),
        ("an update", lambda: update(state, batch), update),
    ):
        work, taken = operations(compiled), seconds(call)
        rate = work / taken
        print(f"| {name} | {work:.1f} | {taken:.3f} | {rate:.0f} | {rate / peak:.0%} |")


def operations(compiled) -> float:
    """XLA's count, in GFLOP."""
    found = compiled.cost_analysis()
    return (found[0] if isinstance(found, list) else found)["flops"] / 1e9


def seconds(call: Callable) -> float:
    """The median, after a call that warms up."""
    jax.block_until_ready(call())
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return float(np.median(times))


if __name__ == "__main__":
    main()
