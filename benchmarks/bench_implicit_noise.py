"""The noise of the implicit term on CartPole: queued pairs against fragments of the present policy.

python benchmarks/bench_implicit_noise.py [--steps 40960] [--repeats 32]

A run of `sobirl run rlhf` is stopped; reward and policy stay as they are. Then the implicit term is
estimated again and again in several ways, always from fragments that are drawn anew and answered by
the simulated teacher. Noise is the trace of the covariance of an estimate; at the same cost, it is
multiplied by the seconds that an estimate takes (one core), relative to the first row.
"""

import argparse
import dataclasses
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from machine import header
from sobirl.deep.compiled_loop import CompiledLoop
from sobirl.deep.follower import FollowerView
from sobirl.deep.implicit import ImplicitTerm
from sobirl.deep.leaders.preferences import PreferenceLeader, PreferenceState
from sobirl.deep.leaders.win_rate import WinRate
from sobirl.experiments.rlhf import RLHFRun
from sobirl.experiments.rlhf.rounds import Rounds
from sobirl.prefs import Labelled, preference_loss

PAIRS, BATCHES = 64, 20  # in a batch of the queue; of them in a round


def main() -> None:
    """Run, freeze, estimate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--steps", type=int, default=40_960)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=32)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", False)
    run = RLHFRun(
        env=options.env, steps=options.steps, pairs=300, members=options.members, eval_every=100
    )
    with Rounds.open(run, 0) as rounds:
        state = rounds.begin()
        for _ in range(rounds.total):
            state, row = rounds.round(state)
        frozen = Frozen(rounds, state.learning)
    print(header() + "\n")
    print({name: round(row[name], 3) for name in ("true_return", "objective", "temperature")})
    leader = rounds.learning.leading.leader
    labels = dataclasses.replace(leader, correction=0.0)
    beaten = WinRate(leader.rewards, leader.score, correction=labels.correction)
    rows = {
        f"{BATCHES} batches of {PAIRS} queued pairs": (PAIRS, frozen.queued(PAIRS, BATCHES)),
        f"one batch of {PAIRS} queued pairs": (PAIRS, frozen.queued(PAIRS, 1)),
        "512 fragments, labels of the reward": (0, frozen.fresh(labels, 512)),
        "the same, a tenth of 16 answers": (16, frozen.fresh(leader, 512)),
        "the same, 16 answers in full": (16, frozen.fresh(answers(leader), 512)),
        "the same, a tenth of 64 answers": (64, frozen.fresh(leader, 512, 64)),
        "win-rate, 512 fragments, labels of the reward": (0, frozen.fresh(beaten, 512)),
        "the same, 16 answers in full, of win-rate": (16, frozen.fresh(answers(beaten), 512)),
    }
    print("| estimate | answers | length of the mean | noise | seconds | noise at the same cost |")
    print("|---|---|---|---|---|---|")
    first = None
    for name, (asked, estimate) in rows.items():
        values, seconds = repeated(estimate, options.repeats)
        noise = values.var(axis=0, ddof=1).sum()
        length = max(np.sum(values.mean(axis=0) ** 2) - noise / len(values), 0) ** 0.5
        first = first or noise * seconds
        same = noise * seconds / first
        print(f"| {name} | {asked} | {length:.3g} | {noise:.3g} | {seconds:.3f} | {same:.3g} |")


class Frozen:
    """A run at rest, and estimates of its implicit term as functions of a key."""

    def __init__(self, rounds: Rounds, state):
        learning = rounds.learning
        self.learner, self.loop = learning.learner, learning.loop
        assert isinstance(self.loop, CompiledLoop)
        self.state, self.length, self.rewards = state, learning.fragment_length, learning.rewards
        self.oracle = rounds.settings.oracle
        learner = state.loop[0]
        self.view = FollowerView(
            self.learner.follower, learner.follower, learner.steps, learner.vector_steps
        )

    def made(self, num, key):
        """Fragments of the present policy (N,M)."""
        return self.loop.fragments(self.learner, self.state.loop, self.length, num, key)

    def answered(self, num, key):
        """Pairs of fragments from different streams, and what the teacher says (num,)."""
        make_key, answer_key, order_key = jax.random.split(key, 3)
        made = self.made(2 * num, make_key)
        half = len(made.mask) // 2
        flat = jax.tree.map(
            lambda leaf: jnp.stack(
                [
                    leaf[:half].reshape(-1, *leaf.shape[2:]),
                    leaf[half:].reshape(-1, *leaf.shape[2:]),
                ],
                axis=1,
            ),
            made,
        )
        some = jax.random.permutation(order_key, len(flat.mask))[:num]
        pair = jax.tree.map(lambda leaf: leaf[some], flat)
        label, _ = self.oracle.answer(pair, answer_key)
        return Labelled(pair, label, jnp.zeros(num, jnp.int32))

    def queued(self, num: int, batches: int):
        """The mean over batches from the same answered pairs, each with one partner."""
        term = ImplicitTerm(off_policy="none")

        @eqx.filter_jit
        def estimate(key, answered):
            model = self.state.reward.model

            def of_batch(key):
                rows = jax.random.randint(key, (num,), 0, num)
                pair, label = jax.tree.map(lambda leaf: leaf[rows], (answered.pair, answered.label))
                loss = preference_loss(self.rewards.logits(model, pair)[0], label)
                return jax.grad(term.surrogate)(model, self.view, pair, loss, jnp.ones(num), key)

            found = jax.lax.map(of_batch, jax.random.split(key, batches))
            return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), found)

        return lambda key: (estimate, (key, self.answered(num, key)))

    def fresh(self, leader: PreferenceLeader, num: int, asked: int = 16):
        """From fragments that are made for it, which takes its time too."""

        @eqx.filter_jit
        def estimate(key, answered, reference):
            fragments = self.made(num, key)
            known = PreferenceState(self.state.reward.normalized, answered, answered, reference)
            return leader.terms(known, self.view, fragments, key)[1]

        def prepared(key):
            reference = jax.tree.map(
                lambda leaf: leaf.reshape(-1, *leaf.shape[2:]),
                self.made(num, jax.random.fold_in(key, 1)),
            )
            return estimate, (key, self.answered(asked, key), reference)

        return prepared


def answers(leader: PreferenceLeader) -> PreferenceLeader:
    """The same, with all that answers say against its labels."""
    return dataclasses.replace(leader, correction=1.0)


def repeated(prepared, repeats: int) -> tuple[np.ndarray, float]:
    """Estimates (repeats,n) and the median of the seconds that one takes."""
    values, seconds = [], []
    for number in range(repeats + 1):
        estimate, arguments = prepared(jax.random.key(number))
        jax.block_until_ready(arguments)
        start = time.perf_counter()
        found = jax.block_until_ready(estimate(*arguments))
        seconds.append(time.perf_counter() - start)
        values.append(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(found)]))
    return np.array(values[1:]), float(np.median(seconds[1:]))


if __name__ == "__main__":
    main()
