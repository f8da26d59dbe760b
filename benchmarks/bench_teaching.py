"""What makes preferences teach: options of the reward, one at a time, from the presets' choice.

python benchmarks/bench_teaching.py [--envs Asterix-MinAtar] [--variants default "1 member"]

A follower learns on the true reward, once for each environment; what it does is what all variants
are asked about, round by round, and fitted to. Then the reward is held against the true one, step
by step, on fragments of the last round that nobody was asked about. That is quick and says how well
a reward is learned, not what a follower makes of it: `--returns` lets one learn on it instead, with
the steps and the pairs of bench_rlhf.py. Results are appended to a file, and what is there is not
run again; `--table` prints what is there.
"""

import argparse
import json
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bench_rlhf import BOARDS, final
from machine import header
from sobirl.deep.follower import FollowerView
from sobirl.deep.reward_learning import RewardLearner
from sobirl.experience import Fragment, flat_steps
from sobirl.experiments.rlhf import RLHFRun
from sobirl.experiments.rlhf.learning import learning_of
from sobirl.experiments.rlhf.rounds import Rounds
from sobirl.prefs import PairQueue, select_pairs
from sobirl.prefs.answers import is_held_out

ENVIRONMENTS = ("Asterix-MinAtar", "SpaceInvaders-MinAtar")
VARIANTS = {
    "default": {},
    "fragments of 25 steps, 8 candidates": {"fragment_length": 25, "candidates": 8},
    "pairs by chance": {"selection": "uniform"},
    "pairs by disagreement": {"selection": "disagreement"},
    "1 member": {"members": 1},
    "no pooling": {"reward_pooling": False},
    "fragments of 8 steps, 8 candidates": {"candidates": 8},
    "nothing held out": {"held_out": 0.0},
    "batches of 64, rate 0.001": {"reward_batch": 64, "reward_learning_rate": 1e-3},
    "cropped by up to a fifth": {"crop": 0.2},
    "label noise 0.1": {"label_noise": 0.1},
    "the last release's": {
        "selection": "uniform",
        "members": 1,
        "reward_pooling": False,
        "held_out": 0.0,
        "reward_batch": 64,
        "reward_learning_rate": 1e-3,
        "epochs": 2,
        "reward_deviation": "none",
    },
    # These change only what critics see.
    "mean at zero": {"reward_center": "mean"},
    "not normalized": {"reward_deviation": "none"},
}
UNSEEN = ("mean at zero", "not normalized")  # by the reward itself
STEPS, PAIRS, POOL, TEST = 80_000, 400, 512, 512


def main() -> None:
    """Run what is missing, or show what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/bench_teaching.jsonl"))
    parser.add_argument("--envs", nargs="*", default=list(ENVIRONMENTS))
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=1, help="the seeds 0, 1, ...")
    parser.add_argument("--returns", action="store_true", help="let a follower learn on it")
    parser.add_argument("--table", action="store_true", help="print the table, run nothing")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if options.table:
        print_table(load(options.out))
        return
    kind = "return" if options.returns else "fit"
    for seed in range(options.seeds):
        for env in options.envs:
            done = load(options.out)
            missing = [v for v in options.variants if (kind, env, v, seed) not in done]
            if not options.returns:
                missing = [v for v in missing if v not in UNSEEN]
            if not missing:
                continue
            if options.returns:
                results = (learned_return(env, variant, seed) for variant in missing)
            else:
                results = fits(env, missing, seed)
            for variant, result in zip(missing, results, strict=True):
                row = {"kind": kind, "env": env, "variant": variant, "seed": seed, **result}
                with options.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(row, flush=True)


def load(path: Path) -> dict[tuple, dict]:
    """All results by kind, environment, variant and seed."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {(r["kind"], r["env"], r["variant"], r["seed"]): r for r in rows}


def learned_return(env: str, variant: str, seed: int) -> dict:
    """What a follower of the learned reward comes to."""
    start = time.perf_counter()
    options = RLHFRun(env=env, method="drlhf", seed=seed, clips=0, **BOARDS | VARIANTS[variant])
    history = options.run().history
    jax.clear_caches()
    values = history["eval_return"][np.isfinite(history["eval_return"])]
    seconds = round(time.perf_counter() - start, 1)
    return {"return": float(final(values[None])[0]), "seconds": seconds}


def fits(env: str, variants: list[str], seed: int):
    """How good each variant's reward is, after all rounds."""
    with jax.enable_x64(False):
        asked = BOARDS | {"steps": STEPS, "pairs": PAIRS}
        with Rounds.open(RLHFRun(env=env, method="ground-truth", **asked), seed) as rounds:
            pools, view, loop = collected(rounds, seed)
        for variant in variants:
            settings = RLHFRun(env=env, method="drlhf", **asked | VARIANTS[variant])
            yield fitted(settings, loop, pools, view, jax.random.key(seed))
            jax.clear_caches()


def collected(rounds: Rounds, seed: int):
    """Pairs of every round of a follower on the true reward (POOL,2), and the follower."""
    learning, pools = rounds.learning, []
    state = learning.init(jax.random.key(seed))
    for number in range(rounds.rounds_per_seed):
        state, _ = learning.round(state)
        key = jax.random.fold_in(jax.random.key(seed + 1000), number)
        pools.append(jax.tree.map(np.asarray, learning._fragments(state.loop[0])(key, 2 * POOL)))
    learner = state.loop[0]
    view = FollowerView(
        learning.learner.follower, learner.follower, learner.steps, learner.vector_steps
    )
    return pools, view, learning.loop


_fit = eqx.filter_jit(RewardLearner.fit)
_judge = eqx.filter_jit(RewardLearner.judge)
_logits = eqx.filter_jit(RewardLearner.logits)


def fitted(settings: RLHFRun, loop, pools: list[Fragment], view: FollowerView, key) -> dict:
    """What the reward knows that is fitted to the answers of all rounds but the last."""
    start = time.perf_counter()
    chosen, learning = settings.resolved(loop.spec), learning_of(settings, loop)
    rewards, oracle, length = learning.rewards, chosen.oracle, chosen.fragment_length
    pools = [shortened(pool, length) for pool in pools]
    state = rewards.init(learning.model(key=key))
    aside = round(learning.held_out * PAIRS)
    queue, held_out = (
        PairQueue.init(taken(pools[0], 0), size) if size else None
        for size in (PAIRS - aside, aside)
    )
    decided = asked = 0
    for number, (pool, count) in enumerate(zip(pools[:-1], learning.pairs, strict=False)):
        choose, answer, fit = jax.random.split(jax.random.fold_in(key, number), 3)
        candidates = taken(pool, np.arange(min(count * chosen.candidates, POOL)))
        probabilities = jax.nn.sigmoid(_logits(rewards, state.model, candidates))
        rule = chosen.selection if number else "uniform"
        pairs = taken(candidates, np.asarray(select_pairs(rule, probabilities, count, choose)))
        labels, _ = oracle.answer(pairs, answer)
        decided, asked = decided + int(jnp.sum(labels != 0.5)), asked + count
        held = np.zeros(count, bool)
        if held_out is not None:
            held = is_held_out(asked - count + np.arange(count), learning.held_out)
            held_out = held_out.add(pairs, labels, held)
        queue = queue.add(pairs, labels, ~held)
        passes = learning.epochs if number else learning.first_epochs
        state, told = _fit(rewards, state, queue, jnp.int32(passes), view, fit, held_out)
    test = taken(pools[-1], np.arange(POOL, POOL + TEST))
    labels, _ = oracle.answer(test, jax.random.key(7))
    judged = _judge(rewards, state.model, PairQueue.init(taken(test, 0), TEST).add(test, labels))
    truth, reward = per_step(state.model, test)
    return {
        "decide": decided / asked,
        "own accuracy": float(told["preference_accuracy"]),
        "loss": float(judged["held_out_loss"]),
        "accuracy": float(judged["held_out_accuracy"]),
        "calibration": float(judged["held_out_calibration"]),
        "auc": area(reward, truth > 0),
        "correlation": float(np.corrcoef(reward, truth)[0, 1]),
        "seconds": round(time.perf_counter() - start, 1),
    }


def taken(pairs: Fragment, rows) -> Fragment:
    """Some of them."""
    return jax.tree.map(lambda leaf: leaf[rows], pairs)


def shortened(pairs: Fragment, length: int) -> Fragment:
    """The first so many steps of each."""
    names = ("observation", "action", "reward", "log_prob", "mask")
    parts = {name: getattr(pairs, name)[:, :, :length] for name in names}
    return Fragment(**parts, taken_at=pairs.taken_at)


def per_step(model, pairs: Fragment) -> tuple[np.ndarray, np.ndarray]:
    """The true and the learned reward of every step that counts."""
    observation, action = flat_steps(pairs)
    blocks = range(0, len(action), 4096)
    reward = [model(observation[at : at + 4096], action[at : at + 4096]) for at in blocks]
    counts = pairs.mask.ravel()
    return pairs.reward.ravel()[counts], np.concatenate(reward)[counts]


def area(score: np.ndarray, positive: np.ndarray) -> float:
    """How likely a rewarded step has a higher score than another (the area under the ROC curve)."""
    rank = np.empty(len(score))
    rank[np.argsort(score)] = np.arange(len(score))
    hits = positive.sum()
    return float((rank[positive].sum() - hits * (hits - 1) / 2) / (hits * (len(score) - hits)))


def print_table(results: dict) -> None:
    """A line for every variant, a table for every environment; means over seeds."""
    print(header() + "\n")
    shown = ("decide", "own accuracy", "accuracy", "loss", "calibration", "auc", "correlation")
    for env in dict.fromkeys(env for _, env, _, _ in results):
        print(f"\n{env}\n\n| | " + " | ".join((*shown, "return")) + " |")
        print("|---|" + "---|" * (len(shown) + 1))
        for variant in VARIANTS:
            rows = [r for (_, e, v, _), r in results.items() if (e, v) == (env, variant)]
            cells = []
            for name in (*shown, "return"):
                values = [row[name] for row in rows if name in row]
                cells.append(f"{np.mean(values):.3g}" if values else "")
            if rows:
                print(f"| {variant} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
