"""What the objectives of preference learning are worth to deep followers.

python benchmarks/bench_deep_objectives.py [--tasks Hills "Hills, linear"] [--seeds 5]

Three small environments, each with the usual reward networks and with a reward that cannot be right
everywhere: linear, or blind to a part of what is seen. The true reward, DRLHF and SoBiRL with two
objectives have the same labels and the same environment steps, the frozen ones that the implicit
term is estimated from among them, and followers that keep the same entropy. At the end φ is
reckoned on fresh fragments of the final policy, with the teacher's true probabilities. Results are
appended to a file, a JSON line a run, and what is there is not run again; `--table` prints what is
there, `--figure FILE` draws it. Other `--methods` than the four tell why: with more answers, with
the teacher's probabilities known, or with nothing but an estimate's noise.
"""

import argparse
import dataclasses
import itertools
import json
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import figures_objectives as figures
from bench_rlhf import described
from machine import header
from sobirl.deep.compiled_loop import CompiledLoop
from sobirl.deep.envs import CompiledEnvironments, Discrete, EnvSpec, make
from sobirl.deep.leaders.preference_loss import PreferenceLoss
from sobirl.deep.leaders.win_rate import WinRate
from sobirl.deep.on_policy import on_policy_fit
from sobirl.deep.preference_learning import PreferenceLearning
from sobirl.deep.reward_learning import RewardLearner
from sobirl.experiments.rlhf.rounds import Rounds
from sobirl.experiments.rlhf.settings import Settings
from sobirl.prefs import fragment_return, preference_probability

LENGTH, FRAGMENTS, ROUND = 10, 256, 2048
ROUNDS = 30  # of SoBiRL, whose frozen steps the others take as further rounds
FROZEN_ROUNDS = ROUNDS - 2  # the first two have random actions
COMMON: dict[str, Any] = {
    "pairs": 200,
    "fragment_length": LENGTH,
    "num_envs": 32,
    "round_steps": ROUND,
    "random_steps": ROUND,
    "batch": 128,
    "updates_per_step": 1 / 16,
    "widths": (32, 32),
    "members": 3,
    "selection": "uniform",
    # All passes are made, and one a round, so that both terms of a hyper-gradient count alike.
    "held_out": 0.0,
    "epochs": 1,
    "first_epochs": 32,
    "reward_batch": 16,
    "reward_learning_rate": 3e-3,
    "implicit_fragments": FRAGMENTS,
    "eval_every": 5,
}
ENTROPY, NARROW = 0.4, -3.0  # at which returns are compared, of discrete and continuous actions
DISCRETE = {"learning_rate": 3e-3, "target_rate": 0.05, "target_entropy": ENTROPY}
# Environment and options by task; the misspecified ones have judges without that restriction.
TASKS = {
    "Hills": ("Hills", DISCRETE | {"teacher_temperature": 2.0}),
    "Catch": ("Catch-bsuite", DISCRETE | {"teacher_temperature": 0.5}),
    "Pendulum": ("Pendulum-v1", {"teacher_temperature": 10.0}),
}
RESTRICTIONS = {
    "Hills, linear": ("Hills", {"reward_linear": True}),
    "Catch, linear": ("Catch", {"reward_linear": True}),
    "Pendulum, blind to the height": ("Pendulum", {"reward_inputs": (1, 2)}),
}
TASKS |= {name: (TASKS[of][0], TASKS[of][1] | more) for name, (of, more) in RESTRICTIONS.items()}
METHODS = {
    "true reward": {"method": "ground-truth"},
    "DRLHF": {"method": "drlhf"},
    "SoBiRL (loss)": {"method": "sobirl", "objective": "loss"},
    "SoBiRL (win-rate)": {"method": "sobirl", "objective": "win-rate"},
}
# What is behind a difference, with answers enough to know the reward by: the same rounds and passes
# for all, so that frozen steps are free.
MANY = {"pairs": 2000, "implicit_fragments": 2048}
LOSS, WIN_RATE = METHODS["SoBiRL (loss)"], METHODS["SoBiRL (win-rate)"]
AS_MANY, TAUGHT = "DRLHF, as many rounds as SoBiRL", "DRLHF, 2000 pairs"
VARIANTS = METHODS | {
    AS_MANY: METHODS["DRLHF"],
    TAUGHT: {"method": "drlhf", "pairs": 2000},
    "SoBiRL (loss), 2000 pairs": LOSS | MANY,
    "SoBiRL (win-rate), 2000 pairs": WIN_RATE | MANY,
}
LABELS_KNOWN, NOISE = "the teacher's probabilities known", "noise alone"
for _what in (LABELS_KNOWN, NOISE):
    VARIANTS[f"SoBiRL (loss), {_what}"] = LOSS | MANY | {"correction": 0.0}
    VARIANTS[f"SoBiRL (win-rate), {_what}"] = WIN_RATE | MANY | {"correction": 0.0}
TO_THE_END = f"{LABELS_KNOWN}, horizon 30"
VARIANTS[f"SoBiRL (loss), {TO_THE_END}"] = LOSS | MANY | {"correction": 0.0, "horizon": 30}
VARIANTS[f"SoBiRL (win-rate), {TO_THE_END}"] = WIN_RATE | MANY | {"correction": 0.0, "horizon": 30}
# Estimates that keep up with the reward: the newest one alone; or so many times the rounds, each
# with as much less of the learning rate. An explicit term that keeps up: of the latest answers.
NEWEST, SLOWLY, SLOWER = "the newest estimate alone", "slowly", 4
RECENT, RECENTLY = "recent answers alone", {"queue": 200, "schedule": "constant"}
for _leader in ("loss", "win-rate"):
    _known = f"SoBiRL ({_leader}), {LABELS_KNOWN}"
    VARIANTS[f"{_known}, {NEWEST}"] = VARIANTS[_known] | {"implicit_momentum": 0.0}
    VARIANTS[f"{_known}, {SLOWLY}"] = VARIANTS[_known]
    VARIANTS[f"{_known}, {RECENT}"] = VARIANTS[_known] | RECENTLY
VARIANTS[f"{TAUGHT}, {SLOWLY}"] = VARIANTS[TAUGHT]
VARIANTS[f"{TAUGHT}, {RECENT}"] = VARIANTS[TAUGHT] | RECENTLY
STREAMS, EACH = 256, 4  # of the fragments that φ is measured on


class Hills(eqx.Module):
    """A point in a square, which walks among two hills and a pit and is paid by the height."""

    spec: EnvSpec = eqx.field(
        default=EnvSpec(
            "Hills", (2,), np.dtype(np.float32), Discrete(5), "benchmark", max_episode_steps=30
        ),
        static=True,
    )

    def reset(self, key):
        """Anywhere."""
        place = jax.random.uniform(key, (2,), jnp.float32, -1, 1)
        return (place, jnp.zeros((), jnp.int32)), place

    def step(self, state, action, key):
        """Stay, or a step to one of four sides, and a little noise."""
        place, count = state
        moves = jnp.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], jnp.float32)
        noise = 0.03 * jax.random.normal(key, (2,), jnp.float32)
        place = jnp.clip(place + 0.15 * moves[action] + noise, -1, 1)
        tops = jnp.array([[0.4, 0.3], [-0.7, 0.6], [-0.1, -0.2]], jnp.float32)
        height = jnp.array([1.0, 0.5, -1.0], jnp.float32)
        reward = height @ jnp.exp(-jnp.sum((place - tops) ** 2, axis=1) / (2 * 0.3**2))
        never, count = jnp.zeros((), bool), count + 1
        return (place, count), place, reward, never, count >= 30


class KnownWinRate(WinRate):
    """Has the teacher's own returns of fragments, in units of its temperature."""

    temperature: float = 1.0

    def returns(self, model, fragments):
        """Whatever the model is."""
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


class NoisyWinRate(WinRate):
    """Every stream has the weights of another one: noise as before, around 0."""

    def weights(self, state, fragments):
        """Half of the streams further on."""
        return _rolled(super().weights(state, fragments))


class NoisyLoss(PreferenceLoss):
    """The same."""

    def weights(self, state, fragments):
        """Half of the streams further on."""
        return _rolled(super().weights(state, fragments))


def _rolled(weights):
    return jnp.roll(weights, len(weights) // 2, axis=0)


def led_by(learning: PreferenceLearning, method: str, temperature: float) -> PreferenceLearning:
    """The same with another leader, if the method's name asks for one."""
    if LABELS_KNOWN not in method and NOISE not in method:
        return learning
    known = LABELS_KNOWN in method
    leader = learning.leading.leader
    kinds = (KnownLoss, KnownWinRate) if known else (NoisyLoss, NoisyWinRate)
    fields = {field.name: getattr(leader, field.name) for field in dataclasses.fields(leader)}
    fields |= {"temperature": temperature} if known else {}
    other = kinds[isinstance(leader, WinRate)](**fields)
    leading = dataclasses.replace(learning.leading, leader=other)
    return dataclasses.replace(learning, leading=leading)


def main() -> None:
    """Run what is missing, or show what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/bench_deep_objectives.jsonl"))
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=5, help="the seeds 0, 1, ...")
    parser.add_argument("--table", action="store_true", help="print the tables, run nothing")
    parser.add_argument("--figure", type=Path, help="draw the figure there, run nothing")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if options.table:
        print_tables(load(options.out))
    if options.figure:
        figures.deep(*compared(load(options.out))).savefig(options.figure, dpi=150)
    if options.table or options.figure:
        return
    for task in options.tasks:
        for seed in range(options.seeds):
            for method in options.methods:
                if (task, method, seed) not in load(options.out):
                    result = {"task": task, "method": method, "seed": seed}
                    result |= run(task, method, seed)
                    with options.out.open("a") as file:
                        file.write(json.dumps(result) + "\n")
                    print(result, flush=True)
        jax.clear_caches()


def load(path: Path) -> dict[tuple[str, str, int], dict]:
    """All results by task, method and seed."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {(r["task"], r["method"], r["seed"]): r for r in rows}


def settings_of(task: str, method: str) -> Settings:
    """All options of a run, with which it takes as many steps as every other one."""
    env, more = TASKS[task]
    chosen = COMMON | more | VARIANTS[method]
    is_led = chosen["method"] == "sobirl"
    rounds = ROUNDS
    if not is_led and method in METHODS:
        rounds += FROZEN_ROUNDS * frozen_steps(Settings(**COMMON)) // ROUND
    if is_led and task in RESTRICTIONS:
        chosen["judges"] = 3
    if method.endswith(SLOWLY):
        rounds *= SLOWER
        chosen["reward_learning_rate"] /= SLOWER
    steps = rounds * ROUND
    return Settings(env=env, steps=steps, clips=0, **chosen)


def frozen_steps(settings: Settings) -> int:
    """Those of a round of SoBiRL: of the fragments, and of two rollouts for each."""
    assert settings.implicit_fragments is not None and settings.horizon != "full"
    fragments = 64 * -(-settings.implicit_fragments // 64)
    return fragments * (LENGTH + 2 * settings.horizon)


def loop_of(env: str) -> CompiledLoop:
    """The environments by name."""
    counts = COMMON["num_envs"], 256
    if env == "Hills":
        return CompiledLoop(*(CompiledEnvironments(Hills(), count) for count in counts))
    return CompiledLoop(*(make(env, count) for count in counts))


def run(task: str, method: str, seed: int) -> dict:
    """What the final policy is worth, and how well preferences between its fragments are known."""
    start = time.process_time()
    with jax.enable_x64(False):
        settings = settings_of(task, method)
        rounds = Rounds(settings, seed, loop_of(settings.env))
        rounds.learning = led_by(rounds.learning, method, settings.teacher_temperature)
        state, history, frozen = rounds.begin(), [], 0
        learning = rounds.learning
        for _ in range(rounds.total):
            state, row = rounds.round(state)
            history.append(row)
            if learning.leading and row["environment_steps"] >= learning.leading.start:
                frozen += frozen_steps(settings)
        fit = measured(rounds, state, seed)
    led = [row for row in history if row.get("implicit_agreement")]
    told = ("implicit_ratio", "implicit_agreement", "implicit_cosine")
    return {
        "return": history[-1]["eval_return"],
        **fit,
        **{name: float(np.mean([r[name] for r in led])) for name in told if led},
        "curve": [r["eval_return"] for r in history if np.isfinite(r["eval_return"])],
        "steps": history[-1]["environment_steps"],
        "frozen": frozen,
        "cpu": round(time.process_time() - start, 1),
    }


def measured(rounds: Rounds, state, seed: int) -> dict:
    """φ and its parts on fresh fragments of the final policy, its entropy, and its return."""
    learning = rounds.learning
    keys = jax.random.split(jax.random.key(10_000 + seed), 3)
    agent = state.learning.loop[0].follower
    fragments = made(learning, agent, keys[0])
    model = None if learning.rewards is None else state.learning.reward.model
    rewards = learning.rewards or RewardLearner()
    found = _fit(rewards, model, rounds.settings.oracle, fragments)
    result = {name: float(value) for name, value in found.items()}
    result["entropy"] = entropy_of(fragments)
    # By what every method's policy gets the same entropy. A Gaussian in a tanh has less, too, where
    # it is wide: the same has to be narrow enough.
    is_discrete = isinstance(learning.loop.spec.actions, Discrete)
    sharpened, wanted, low = (cooled, ENTROPY, -4.0) if is_discrete else (narrowed, NARROW, 0.0)
    high = 4.0
    for _ in range(12):
        middle = (low + high) / 2
        entropy = entropy_of(made(learning, sharpened(agent, middle), keys[1]))
        low, high = (middle, high) if entropy > wanted else (low, middle)
    agent = sharpened(agent, middle)
    result |= {"sharpened": middle, "controlled_entropy": entropy}
    follower, most = learning.learner.follower, learning.loop.spec.max_episode_steps
    returns = learning.loop.evaluate(follower, agent, keys[2], most)
    result["controlled_return"] = float(np.mean(returns))
    return result


def made(learning, agent, key):
    """Fresh fragments of a policy (STREAMS,EACH), from fresh beginnings."""
    environment = learning.loop.environments.environment
    fresh = CompiledLoop(CompiledEnvironments(environment, STREAMS), learning.loop.evaluation)
    replay = dataclasses.replace(learning.learner.replay, num_envs=STREAMS)
    learner = dataclasses.replace(learning.learner, replay=replay)
    begin_key, made_key = jax.random.split(key)
    begun, inner = fresh.begin(learner, begin_key)
    begun = eqx.tree_at(lambda it: it.follower, begun, agent)
    return fresh.fragments(learner, (begun, inner), LENGTH, STREAMS * EACH, made_key)


def entropy_of(fragments) -> float:
    """A policy's, in nats, over the steps that it made."""
    return -float(jnp.sum(jnp.where(fragments.mask, fragments.log_prob, 0)) / fragments.mask.sum())


def cooled(agent, by: float):
    """The policy π^exp(by), normalized."""
    head, factor = agent.actor.head, np.exp(by)
    return eqx.tree_at(
        lambda it: (it.actor.head.weight, it.actor.head.bias),
        agent,
        (factor * head.weight, factor * head.bias),
    )


def narrowed(agent, by: float):
    """A Gaussian policy of smaller deviations, the means as they are."""
    bias = agent.actor.head.bias
    bias = bias.at[len(bias) // 2 :].add(-by)
    return eqx.tree_at(lambda it: it.actor.head.bias, agent, bias)


_fit = eqx.filter_jit(on_policy_fit)


def values(results: dict, task: str, method: str, name: str) -> dict[int, float]:
    """By seed."""
    return {s: r[name] for (t, m, s), r in results.items() if (t, m) == (task, method)}


def difference(results: dict, task: str, method: str, other: str, name: str) -> np.ndarray:
    """Of the seeds that both methods have."""
    first, second = (values(results, task, one, name) for one in (method, other))
    return np.array([first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())])


# Rows of the figure that tell why, with 2000 answers: who labels the implicit term's fragments.
WHY = {"labels of judges": "2000 pairs", "labels of the teacher": LABELS_KNOWN, NOISE: NOISE}


def compared(results: dict) -> tuple[dict, dict]:
    """For the figure: changes against DRLHF by quantity, method and row, and the rows' headings."""
    rows = {task: (task, "", "DRLHF") for task in TASKS}
    why = {
        f"{task.split(',')[0]}, {row}": (task, f", {what}", TAUGHT)
        for task, (row, what) in itertools.product(RESTRICTIONS, WHY.items())
    }
    changes = {}
    for name in ("cross_entropy", "controlled_return"):
        for method in list(METHODS)[2:]:
            for row, (task, what, other) in (rows | why).items():
                gap = difference(results, task, method + what, other, name)
                if len(gap) < 2:
                    continue
                if name != "cross_entropy":
                    truth = list(values(results, task, "true reward", name).values())
                    gap = 100 * gap / (np.mean(truth) - RANDOM[task.split(",")[0]])
                changes[name, method, row] = gap.mean(), 2 * error_of(gap)
    headings = {
        "the usual networks": [task for task in TASKS if task not in RESTRICTIONS],
        "rewards that cannot be right": list(RESTRICTIONS),
        "the same with 2000 answers": list(why),
    }
    known = {row for _, _, row in changes}
    return changes, {name: [r for r in some if r in known] for name, some in headings.items()}


def error_of(gap: np.ndarray) -> float:
    """The standard error of the mean."""
    return gap.std(ddof=1) / np.sqrt(len(gap))


# Returns of random actions, to say what a difference is worth: means of 4,096 episodes.
RANDOM = {"Hills": 1.28, "Catch": -0.6, "Pendulum": -1224.0}


def print_tables(results: dict) -> None:
    """Every quantity for every task and method, and paired differences to DRLHF."""
    print(header())
    names = {
        "cross_entropy": "φ on fresh pairs of the final policy",
        "return": "true return of the final policy",
        "controlled_return": "true return at equal entropy",
        "entropy": "entropy of the final policy, in nats",
        "teacher_entropy": "the teacher's entropy, the part of φ that only the policy can lower",
        "calibration": "calibration there",
    }
    shown = list(METHODS)
    for name, title in names.items():
        print(f"\n{title}\n\n| task | seeds | " + " | ".join(shown) + " |")
        print("|---|" + "---|" * (len(shown) + 1))
        for task in TASKS:
            cells, seeds = [], 0
            for method in shown:
                found = np.array(list(values(results, task, method, name).values()))
                gap = difference(results, task, method, "DRLHF", name)
                text = described(found) if found.size else ""
                if method not in ("DRLHF", "true reward") and len(gap) > 1:
                    text += f" ({gap.mean():+.2g} ± {error_of(gap):.2g})"
                cells.append(text)
                seeds = max(seeds, len(found))
            if seeds:
                print(f"| {task} | {seeds} | " + " | ".join(cells) + " |")
    print("\nFrozen steps not counted, against DRLHF with as many rounds\n")
    print("| task | seeds | φ, loss | φ, win-rate | return, loss | return, win-rate |")
    print("|---|---|---|---|---|---|")
    for task in TASKS:
        gaps = [
            difference(results, task, method, AS_MANY, name)
            for name in ("cross_entropy", "controlled_return")
            for method in list(METHODS)[2:]
        ]
        if len(gaps[0]) > 1:
            cells = " | ".join(f"{gap.mean():+.2g} ± {error_of(gap):.2g}" for gap in gaps)
            print(f"| {task} | {len(gaps[0])} | {cells} |")
    print(
        "\nAgainst DRLHF with 2000 pairs\n\n| task | method | seeds | φ | return, equal entropy |"
    )
    print("|---|---|---|---|---|")
    for task, method in ((task, method) for task in TASKS for method in list(VARIANTS)[5:]):
        alike = next((f", {how}" for how in (SLOWLY, RECENT) if method.endswith(how)), "")
        other = TAUGHT + alike
        cells = []
        for name in ("cross_entropy", "controlled_return"):
            found = np.array(list(values(results, task, method, name).values()))
            gap = difference(results, task, method, other, name)
            if len(gap) > 1:
                text = "" if method == other else f" ({gap.mean():+.2g} ± {error_of(gap):.2g})"
                cells.append(described(found) + text)
        if cells:
            print(f"| {task} | {method} | {len(gap)} | " + " | ".join(cells) + " |")
    led = [r for r in results.values() if "implicit_agreement" in r]
    print("\n| task | method | ratio | agreement | cosine | steps | frozen | CPU s |")
    print("|---|---|---|---|---|---|---|---|")
    for task, method in dict.fromkeys((r["task"], r["method"]) for r in led):
        rows = [r for r in led if (r["task"], r["method"]) == (task, method)]
        told = "implicit_ratio", "implicit_agreement", "implicit_cosine", "steps", "frozen", "cpu"
        cells = " | ".join(f"{np.mean([r[name] for r in rows]):.3g}" for name in told)
        print(f"| {task} | {method} | {cells} |")


if __name__ == "__main__":
    main()
