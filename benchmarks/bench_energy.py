"""A pendulum that learns to save energy, because a leader charges it for torque within a budget.

    python benchmarks/bench_energy.py --methods trace explicit --seeds 0 1 2
    python benchmarks/bench_energy.py --charges 0 0.5 1 2 4
    python benchmarks/bench_energy.py --draw build/energy.jsonl docs/figures/energy.png

The pendulum's own reward hardly minds torque; the leader wants it upright and thrifty. Its charge
is x u² a step, x a number from 0 on. With --charges the charge stays as given: what the leader
could have by trying.
"""

import argparse
import json
import time
from pathlib import Path

import gymnasium
import numpy as np

import sobirl as sb

STEPS, EPISODES = 200, 20
FULL = 2.0  # the greatest torque


def thrifty(observation, action, next_observation, x):
    """Upright is worth 1 a step, hanging down -1; full torque costs 2."""
    return observation[0] - 2 * (action[0] / FULL) ** 2


def charge(observation, action, x):
    """What the pendulum pays."""
    return -x * (action[0] / FULL) ** 2


def played(policy):
    """Per step of fresh episodes: the leader's reward, its share of upright, u², own reward."""
    env, rows = gymnasium.make("Pendulum-v1"), []
    for episode in range(EPISODES):
        seen, _ = env.reset(seed=1000 + episode)
        for step in range(STEPS):
            action = policy(seen, seed=STEPS * episode + step)
            after, reward, *_ = env.step(action)
            energy = (action[0] / FULL) ** 2
            rows.append((thrifty(seen, action, after, 0.0), seen[0], energy, reward))
            seen = after
    names = "leader", "upright", "energy", "own"
    return dict(zip(names, map(float, np.mean(rows, axis=0)), strict=True))


def found(arguments, method, x0, seed):
    """One run, and what its pendulum does."""
    began = time.process_time()
    run = sb.design_incentives(
        "Pendulum-v1",
        thrifty,
        incentive=charge,
        x0=float(x0),
        projection=sb.box(0.0, np.inf) if method != "fixed" else sb.box(float(x0), float(x0)),
        method="explicit" if method == "fixed" else method,
        budget=None if method == "fixed" else arguments.budget,
        steps=arguments.steps,
        round_steps=arguments.round_steps,
        leader_rate=arguments.rate,
        temperature=arguments.temperature,
        discount=0.98,
        episodes=32,
        episode_steps=STEPS,
        warm_up=0.3,
        replay=50_000,
        seed=seed,
        progress=False,
    )
    history = {
        name: np.round(run.history[name], 4).tolist()
        for name in ("environment_steps", "leader_return", "follower_return", "spent")
    }
    return {
        "method": method,
        "seed": seed,
        "charge": -run.incentive(np.array([1.0, 0.0, 0.0]), np.array([FULL])),
        **played(run.policy),
        "paid": history["spent"][-1],
        "cpu_seconds": round(time.process_time() - began, 1),
        "history": history,
    }


def draw(source, target):
    """The two levels over time, all seeds, and what fixed charges are worth."""
    from matplotlib.figure import Figure

    rows = [json.loads(line) for line in source.read_text().splitlines()]
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for method, color in (("trace", "#0173b2"), ("explicit", "#de8f05")):
        for number, row in enumerate(r for r in rows if r["method"] == method):
            history = {name: np.array(v) for name, v in row["history"].items()}
            steps, label = history["environment_steps"] / 1000, None if number else method
            smooth = np.convolve(history["leader_return"], np.ones(9) / 9, mode="valid")
            left.plot(steps[4 : 4 + len(smooth)], smooth, color=color, label=label, lw=1.4)
            middle.plot(steps, history["spent"], color=color, label=label, lw=1.4)
            right.scatter(row["charge"], row["leader"], color=color, label=label, zorder=3)
    fixed = sorted((r for r in rows if r["method"] == "fixed"), key=lambda r: r["charge"])
    if fixed:
        charges, values = ([r[name] for r in fixed] for name in ("charge", "leader"))
        right.plot(charges, values, "o-", color="0.6", ms=4, lw=1, label="charges that stay")
    left.set(xlabel="thousand environment steps", ylabel="leader's return")
    middle.set(xlabel="thousand environment steps", ylabel="charged a step")
    right.set(xlabel="charge for full torque", ylabel="leader's reward a step, at the end")
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False)
    right.legend(frameon=False, loc="lower right")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150)


def main():
    """Every method and seed, every charge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", nargs="*", default=[])
    parser.add_argument("--charges", type=float, nargs="*", default=[])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--round-steps", type=int, default=800)
    parser.add_argument("--rate", type=float, default=0.4)
    parser.add_argument("--budget", type=float, default=0.15)
    parser.add_argument("--temperature", type=float, default=0.2)
    parser.add_argument("--out", type=Path, default=Path("build/energy.jsonl"))
    parser.add_argument("--draw", type=Path, nargs=2, default=None, metavar=("FROM", "TO"))
    arguments = parser.parse_args()
    if arguments.draw is not None:
        draw(*arguments.draw)
        return
    runs = [(method, 0.0) for method in arguments.methods]
    runs += [("fixed", x) for x in arguments.charges]
    for seed in arguments.seeds:
        for method, x0 in runs:
            row = found(arguments, method, x0, seed)
            print(json.dumps({k: v for k, v in row.items() if k != "history"}), flush=True)
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            with arguments.out.open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
