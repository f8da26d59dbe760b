"""The work of learning from screens, and how much of the machine's peak it reaches.

python benchmarks/bench_screens.py                       # this version
PYTHONPATH=OTHER/src python benchmarks/bench_screens.py  # another one, in OTHER

An update of soft actor-critic, and one of the reward, of which a fit makes as many as there are
batches of pairs in its passes; both with the sizes of `--preset paper` and of `small-atari`.
Operations are XLA's count, seconds those of the cores, which other programs on the machine do not
lengthen much; the peak is that of one large product of matrices.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from machine import header
from sobirl.deep.discrete_sac import DiscreteSAC
from sobirl.deep.networks import REWARD_CNN
from sobirl.deep.reward_learning import RewardLearner
from sobirl.deep.reward_model import RewardModel
from sobirl.experience import Fragment
from sobirl.experience.replay import Transitions
from sobirl.prefs import PairQueue

FRAMES, ACTIONS, SIZE, REPEATS = 4, 9, 2048, 5


class Sizes(NamedTuple):
    """What a preset has."""

    screen: int
    widths: tuple[int, ...]
    batch: int
    pairs: int
    length: int
    normalized: bool


PRESETS = {
    "paper": Sizes(84, (512,), 64, 64, 25, True),
    "small-atari": Sizes(48, (256,), 32, 16, 15, False),
}


def main() -> None:
    """Count, time, compare."""
    jax.config.update("jax_enable_x64", False)
    random = np.random.default_rng(0)
    square = jnp.asarray(random.normal(size=(SIZE, SIZE)).astype(np.float32))
    product = jax.jit(jnp.matmul)
    print(header())
    print("| | GFLOP | core seconds | GFLOP a core second | of a product of matrices |")
    print("|---|---|---|---|---|")
    for name, sizes in PRESETS.items():
        for what, (function, given) in {
            "an update of the follower": follower_update(sizes, random),
            f"an update of the reward, {sizes.pairs} pairs": reward_update(sizes, random),
        }.items():
            compiled = jax.jit(function).lower(*given).compile()
            # Before each, since a shared machine's speed drifts.
            peak = 2 * SIZE**3 / 1e9 / seconds(lambda: product(square, square))
            work = operations(compiled)
            taken = seconds(lambda call=compiled, given=given: call(*given))
            row = f"{work:.2f} | {taken:.3f} | {work / taken:.0f} | {work / taken / peak:.0%}"
            print(f"| `{name}`: {what} | {row} |", flush=True)


def follower_update(sizes: Sizes, random: np.random.Generator) -> tuple[Callable, tuple]:
    """A function and what it is given."""
    shape = (sizes.screen, sizes.screen, FRAMES)
    follower = DiscreteSAC(shape, num_actions=ACTIONS, widths=sizes.widths)
    screens = [_bytes(random, (sizes.batch, *shape)) for _ in range(2)]
    batch = Transitions(
        observation=screens[0],
        action=jnp.zeros(sizes.batch, jnp.int32),
        reward=jnp.ones(sizes.batch),
        next_observation=screens[1],
        terminated=jnp.zeros(sizes.batch, bool),
        weight=jnp.ones(sizes.batch),
    )
    key = jax.random.key(1)
    update = lambda state, batch: follower.update(state, batch, None, key)  # noqa: E731
    return update, (follower.init(jax.random.key(0)), batch)


def reward_update(sizes: Sizes, random: np.random.Generator) -> tuple[Callable, tuple]:
    """A function and what it is given."""
    architecture = REWARD_CNN
    if not sizes.normalized:
        architecture = architecture._replace(normalized=False, dropout=0.0)
    shape, flat = (sizes.screen, sizes.screen), (sizes.pairs, 2, sizes.length)
    learner = RewardLearner(batch_size=sizes.pairs)
    state = learner.init(
        RewardModel(
            (*shape, FRAMES), jax.random.key(0), num_actions=ACTIONS, architecture=architecture
        )
    )
    pairs = Fragment(
        _bytes(random, (*flat[:2], sizes.length + FRAMES - 1, *shape)),
        jnp.zeros(flat, jnp.int32),
        jnp.zeros(flat),
        jnp.zeros(flat),
        jnp.ones(flat, bool),
        jnp.zeros(flat[:2], jnp.int32),
    )
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), pairs)
    queue = PairQueue.init(like, sizes.pairs).add(pairs, jnp.ones(sizes.pairs))
    key = jax.random.key(1)
    update = lambda state, batch: learner.update(state, batch, None, key)  # noqa: E731
    return update, (state, queue.at(jnp.arange(sizes.pairs)))


def operations(compiled) -> float:
    """XLA's count, in GFLOP."""
    found = compiled.cost_analysis()
    return (found[0] if isinstance(found, list) else found)["flops"] / 1e9


def seconds(call: Callable) -> float:
    """Of the cores: the median, after a call that warms up."""
    jax.block_until_ready(call())
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        jax.block_until_ready(call())
        times.append(time.process_time() - start)
    return float(np.median(times))


def _bytes(random: np.random.Generator, shape: tuple[int, ...]) -> jax.Array:
    return jnp.asarray(random.integers(0, 256, shape, np.uint8))


if __name__ == "__main__":
    main()
