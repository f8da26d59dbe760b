"""Published problems with a follower that learns: what is found without the model, judged exactly.

    python benchmarks/bench_simulated.py r1 r2 conitzer-sandholm reward-shaping goal-position

A soft Q-learner, linear in one-hot states, walks in the problem's tables and never sees them
(`sobirl.problems.simulated`); the leader follows the trace estimate of its hyper-gradient.
"""

import argparse
import json
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sobirl as sb
from sobirl.problems.games import GAMES
from sobirl.problems.goal_position import GoalPosition
from sobirl.problems.markov_game import DiscreteToy
from sobirl.problems.reward_shaping import RewardShaping
from sobirl.problems.simulated import simulated
from sobirl.problems.stackelberg import Stackelberg

COMMON = {
    "follower": "soft-q",
    "widths": (),
    "num_envs": 16,
    "round_steps": 320,
    "episodes": 64,
    "batch": 256,
    "updates_per_step": 1.0,
    "learning_rate": 0.05,
    "target_rate": 0.3,
    "progress": False,
}
TOY = {"steps": 64_000, "episode_steps": 150, "replay": 6_400, "leader_rate": 0.1}
# The temperature at which the follower learns, where the problem's own is too sharp for it.
GAME = {"steps": 32_000, "episode_steps": 20, "temperature": 0.02, "initial_temperature": 0.3}
SETTINGS: dict[str, dict[str, Any]] = {
    "r1": TOY,
    "r2": TOY,
    **dict.fromkeys(GAMES, GAME),
    "reward-shaping": {"steps": 64_000, "replay": 64_000, "projection": sb.box(-1.0, 1.0)},
    "goal-position": {
        "steps": 64_000,
        "replay": 64_000,
        "temperature": 0.01,
        "initial_temperature": 0.1,
        "projection": sb.box(0.0, 9.0),
    },
}


def instance(name: str) -> tuple[Any, Any]:
    """The problem with its own constants, and the first x."""
    if name in ("r1", "r2"):
        made = DiscreteToy(float(name[1]))
    elif name in GAMES:
        made = Stackelberg(name)
    else:
        made = RewardShaping() if name == "reward-shaping" else GoalPosition()
    return made, made.x0()


def judged(made: Any, x: Any) -> float:
    """The leader's exact value of x; of the games over 150 steps, as published."""
    if isinstance(made, DiscreteToy):
        return float(made.returns(x)[0 if made.bonus == 1 else 1])
    return -float(made.problem().value(x))


def main():
    """Every problem and seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("problems", nargs="*", default=list(SETTINGS), metavar="problem")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--method", default="trace")
    parser.add_argument("--set", nargs="*", default=[], help="NAME=VALUE, settings to change")
    arguments = parser.parse_args()
    changed = {name: json.loads(value) for name, value in (s.split("=") for s in arguments.set)}
    for name in arguments.problems:
        with jax.enable_x64(True):
            made, x0 = instance(name)
            given = simulated(made.problem(), x0, name)
            first = judged(made, x0)
        for seed in range(arguments.seeds):
            began = time.process_time()
            settings = {**given, **COMMON, **SETTINGS[name], **changed}
            found = sb.design_incentives(method=arguments.method, seed=seed, **settings)
            seconds = time.process_time() - began
            with jax.enable_x64(True):
                x = jnp.asarray(np.asarray(found.x), float)
                row = {
                    "problem": name,
                    "method": arguments.method,
                    "seed": seed,
                    "first": round(first, 4),
                    "found": round(judged(made, x), 4),
                    "x": np.asarray(x).round(3).tolist() if x.size < 10 else None,
                    "steps": int(found.history["environment_steps"][-1]),
                    "cpu_seconds": round(seconds, 1),
                    "notes": found.notes,
                }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
