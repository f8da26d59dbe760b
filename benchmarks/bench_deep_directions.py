"""Which part of an exact hyper-gradient deep estimates keep: its horizon, labels, and noise.

python benchmarks/bench_deep_directions.py [--tasks Hills "Hills, linear"] [--seeds 5]

A run of bench_deep_objectives.py without its implicit steps, which is DRLHF, is stopped. Then the
implicit term of an objective is estimated again and again at the same reward, in several ways. What
a way is worth is seen without any estimate: the reward takes a step against its mean and one along
it, the follower learns on until it has answered either, and the teacher's true probabilities say
what has become of the objective. Results are appended to a file, and what is there is not run
again; `--table` prints what is there.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import bench_deep_objectives as deep
from machine import header
from sobirl.deep.follower import FollowerView
from sobirl.deep.leaders.preference_loss import PreferenceLoss
from sobirl.deep.leaders.preferences import PreferenceLeader, PreferenceState
from sobirl.deep.leaders.win_rate import WinRate
from sobirl.deep.policy_score import PolicyScore
from sobirl.experiments.rlhf.rounds import Rounds
from sobirl.prefs import fragment_return, preference_probability

TASKS = ("Hills", "Hills, linear", "Catch", "Catch, linear")
OBJECTIVES = ("loss", "win-rate")
# How many steps after a fragment's step count, and whether the teacher's probabilities are known.
WAYS = {
    "horizon 0": (0, False),
    "horizon 0, labels known": (0, True),
    "to the end": (30, False),
    "to the end, labels known": (30, True),
}
NUM, REPEATS = 2048, 32  # fragments in an estimate, estimates in a mean
STEP, ROUNDS, TOLD = 0.1, 20, 8192  # of |x|; rounds in which it is answered; fragments after them


def main() -> None:
    """Run what is missing, or show what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/bench_deep_directions.jsonl"))
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--pairs", type=int, default=deep.COMMON["pairs"])
    parser.add_argument("--seeds", type=int, default=5, help="the seeds 0, 1, ...")
    parser.add_argument("--table", action="store_true", help="print the table, run nothing")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if options.table:
        print_table(load(options.out))
        return
    for task in options.tasks:
        for seed in range(options.seeds):
            if (task, options.pairs, seed) not in {k[:3] for k in load(options.out)}:
                with jax.enable_x64(False):
                    rows = Stopped(task, options.pairs, seed).rows()
                with options.out.open("a") as file:
                    for row in rows:
                        row = {"task": task, "pairs": options.pairs, "seed": seed} | row
                        file.write(json.dumps(row) + "\n")
                        print(row, flush=True)
        jax.clear_caches()


def load(path: Path) -> dict[tuple, dict]:
    """All results by task, pairs, seed, objective and way."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {tuple(r[n] for n in ("task", "pairs", "seed", "objective", "way")): r for r in rows}


class KnownWinRate(WinRate):
    """Has the teacher's own returns of fragments."""

    temperature: float = 1.0

    def returns(self, model, fragments):
        """In units of the teacher's temperature."""
        return fragment_return(fragments.reward, fragments.mask)[None] / self.temperature


class KnownLoss(PreferenceLoss):
    """Has the teacher's own probabilities for labels."""

    temperature: float = 1.0

    def labelled(self, state, fragments, pairs):
        """Logits of the reward, labels of the teacher."""
        truth = fragment_return(fragments.reward, fragments.mask)[None] / self.temperature
        logit = pairs(self.returns(state.reward.model, fragments)) / self.rewards.temperature
        label = preference_probability(pairs(truth), self.rewards.noise)
        return logit, jnp.broadcast_to(label, logit.shape)


class Stopped:
    """A run at rest, what its implicit term is, and what comes of steps along it."""

    def __init__(self, task: str, pairs: int, seed: int):
        settings = deep.settings_of(task, "SoBiRL (win-rate)")
        settings = dataclasses.replace(settings, pairs=pairs, horizon=30, implicit_from=10**9)
        rounds = Rounds(settings, seed, deep.loop_of(settings.env))
        state = rounds.begin()
        for _ in range(rounds.total):
            state, _ = rounds.round(state)
        self.learning, self.state, self.oracle = rounds.learning, state.learning, settings.oracle
        self.settings, self.key = rounds.settings, jax.random.key(1000 + seed)
        self.reference = self.made(self.state.loop, jax.random.fold_in(self.key, 0))

    def made(self, loop, key, num: int = NUM):
        """Fragments of a policy (N,M)."""
        learner = self.learning.learner
        return self.learning.loop.fragments(learner, loop, deep.LENGTH, num, key)

    def rows(self) -> list[dict]:
        """For every objective and way."""
        result = []
        for objective in OBJECTIVES:
            means = {}
            for way in WAYS:
                found = self.estimates(objective, way)
                means[way] = found.mean(axis=0)
                noise = found.var(axis=0, ddof=1).sum()
                length = np.sum(means[way] ** 2) - noise / REPEATS
                result.append(
                    {
                        "objective": objective,
                        "way": way,
                        "length": float(np.sqrt(max(length, 0))),
                        "noise": float(np.sqrt(noise * NUM / deep.FRAGMENTS)),
                        **self.answer(means[way]),
                    }
                )
            best = means[list(WAYS)[-1]]
            for row, mean in zip(result[-len(WAYS) :], means.values(), strict=True):
                row["cosine"] = float(mean @ best / np.sqrt(mean @ mean * (best @ best)))
        return result

    def estimates(self, objective: str, way: str) -> np.ndarray:
        """Of the implicit term, independent of each other (REPEATS,n)."""
        horizon, is_known = WAYS[way]
        leader: PreferenceLeader = self.learning.leading.leader
        usual = {
            "rewards": leader.rewards,
            "score": PolicyScore(horizon, leader.score.actions),
            "correction": 0.0,
        }
        known = {"temperature": self.settings.teacher_temperature} if is_known else {}
        kinds = (KnownLoss, KnownWinRate) if is_known else (PreferenceLoss, WinRate)
        leader = kinds[objective == "win-rate"](**usual, **known)
        reward, learner = self.state.reward, self.state.loop[0]
        view = FollowerView(
            self.learning.learner.follower,
            learner.follower,
            learner.steps,
            learner.vector_steps,
            self.learning.loop.environments,
        )
        reference = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), self.reference)
        answered = self.state.answers.queue.at(jnp.arange(2))
        answered = eqx.tree_at(lambda a: a.number, answered, jnp.full(2, -1))
        judges = self.state.leading.judges
        state = PreferenceState(
            reward.normalized, answered, answered, reference, judges and judges.model
        )
        found = []
        for key in jax.random.split(jax.random.fold_in(self.key, 1), REPEATS):
            fragments = self.made(self.state.loop, key)
            found.append(_estimate(leader, state, view, fragments, key))
        return np.array(found)

    def answer(self, direction: np.ndarray) -> dict[str, float]:
        """What the objectives and the return change by, from a step against a direction."""
        model = self.state.reward.model
        flat, rebuilt = ravel_pytree(eqx.filter(model, eqx.is_array))
        step = STEP * np.linalg.norm(flat) * direction / np.linalg.norm(direction)
        ends = []
        for sign in (-1, 1):
            moved = eqx.combine(rebuilt(flat + sign * step), model)
            reward = eqx.tree_at(lambda r: r.model, self.state.reward, moved).normalized
            # The memory of a state is taken over by what advances it.
            loop = jax.tree.map(lambda leaf: leaf.copy(), self.state.loop)
            for _ in range(ROUNDS):
                loop, _ = self.learning.loop.advance(
                    self.learning.learner, reward, loop, self.learning.calls
                )
            ends.append(self.told(loop))
        return {name: (ends[0][name] - ends[1][name]) / 2 for name in ends[0]}

    def told(self, loop) -> dict[str, float]:
        """The objectives of a policy, with the teacher's probabilities and the reward at rest."""
        fragments = self.made(loop, jax.random.fold_in(self.key, 2), TOLD)
        model, rewards = self.state.reward.model, self.learning.rewards
        lost, loss = _objectives(self.oracle, rewards, model, fragments, self.reference)
        follower = self.learning.learner.follower
        agent, most = loop[0].follower, self.learning.loop.spec.max_episode_steps
        key = jax.random.fold_in(self.key, 3)
        returns = self.learning.loop.evaluate(follower, agent, key, most)
        return {"lost": float(lost), "loss": float(loss), "return": float(np.mean(returns))}


@eqx.filter_jit
def _estimate(leader, state, view, fragments, key):
    return ravel_pytree(leader.terms(state, view, fragments, key)[1])[0]


@eqx.filter_jit
def _objectives(oracle, rewards, model, fragments, reference):
    """P(a reference is preferred) and the mean cross-entropy of pairs."""
    flat = [
        jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:2048], some)
        for some in (fragments, reference)
    ]
    own, other = (jnp.stack(oracle.returns(some.reward, some.mask)) for some in flat)
    gaps = jnp.stack(jnp.broadcast_arrays(other[:, None], own[:, :, None]), axis=-1)
    lost = jnp.mean(oracle.probability(*gaps))
    return lost, deep.on_policy_fit(rewards, model, oracle, fragments)["cross_entropy"]


def print_table(results: dict) -> None:
    """Means over seeds with standard errors."""
    print(header() + "\n")
    names = ("length", "noise", "cosine", "lost", "loss", "return")
    print("| task | pairs | objective | way | seeds | " + " | ".join(names) + " |")
    print("|---|---|---|---|---|" + "---|" * len(names))
    cells = dict.fromkeys((t, p, o, w) for t, p, _, o, w in results)
    for task, pairs, objective, way in cells:
        rows = [
            r
            for (t, p, _, o, w), r in results.items()
            if (t, p, o, w) == (task, pairs, objective, way)
        ]
        said = (deep.described(np.array([row[name] for row in rows])) for name in names)
        print(
            f"| {task} | {pairs} | {objective} | {way} | {len(rows)} | " + " | ".join(said) + " |"
        )


if __name__ == "__main__":
    main()
