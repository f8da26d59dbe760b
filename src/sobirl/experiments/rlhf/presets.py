"""What suits which environments, where `sobirl run rlhf` is not told."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sobirl.deep.envs import EnvSpec

# For every environment, unless something below says otherwise.
GENERAL: dict[str, Any] = {
    "steps": 300_000,
    "pairs": 300,
    "schedule": "hyperbolic",
    "fragment_length": 25,
    "epochs": 4,
    "first_epochs": 32,
    "queue": 3000,
    "selection": "uniform",
    "candidates": 4,
    "held_out": 0.1,
    "teacher_clips": False,
    "members": 1,
    "reward_deviation": "none",
    "reward_batch": 64,
    "reward_weight_decay": 1e-2,
    "reward_normalization": False,
    "implicit_data": "fresh",
    "implicit_fragments": 512,
    "implicit_ratio": 1.0,
    "baseline": True,
    "off_policy": "recent",
    "implicit_dropout": False,
    "whole_fragments": False,
    "reward_pooling": False,
    "initial_temperature": 1.0,
    "adam_eps": 1e-8,
    "episodic_life": False,
    "screen": 84,
    "eval_every": 4,
    "eval_episodes": 32,
}

FAMILIES: dict[str, dict[str, Any]] = {
    "vectors, discrete actions": {
        "num_envs": 64,
        "round_steps": 5120,
        "random_steps": 5120,
        "batch": 256,
        "replay": 100_000,
        "updates_per_step": 1 / 16,
        "learning_rate": 1e-3,
        "target_rate": 0.1,
        "temperature": "auto",  # learned rewards have no scale that a fixed one could fit
        "initial_temperature": 0.1,
        "target_entropy": 0.2,
        "widths": (64, 64),
        "members": 3,
        "reward_learning_rate": 1e-3,
    },
    "few numbers, continuous actions": {
        "num_envs": 16,
        "round_steps": 2000,
        "random_steps": 2000,
        "batch": 128,
        "replay": 100_000,
        "updates_per_step": 1 / 16,
        "learning_rate": 3e-3,
        "target_rate": 0.02,
        "temperature": "auto",
        "widths": (64, 64),
        "reward_learning_rate": 3e-3,
    },
    "vectors, continuous actions": {
        "num_envs": 8,
        "round_steps": 4000,
        "random_steps": 8000,
        "batch": 256,
        "replay": 1_000_000,
        "updates_per_step": 0.125,
        "learning_rate": 1e-3,
        "target_rate": 0.01,
        "temperature": "auto",
        "widths": (128, 128),
        "reward_learning_rate": 1e-3,
    },
    "small boards": {
        "num_envs": 32,
        "round_steps": 10_240,
        "random_steps": 10_240,
        "batch": 64,
        "replay": 200_000,
        "updates_per_step": 1 / 16,
        "learning_rate": 1e-3,
        "target_rate": 0.02,
        "temperature": "auto",
        "initial_temperature": 0.1,
        "target_entropy": 0.4,
        "widths": (128,),
        # Most pairs are ties: bench_teaching.py has what each of these is worth. Short fragments
        # say which step is good; as many steps to choose from as with 8 of 25.
        "fragment_length": 8,
        "selection": "decisiveness",
        "candidates": 24,
        "members": 3,
        "epochs": 6,
        "reward_batch": 16,
        "reward_learning_rate": 3e-3,
        "reward_pooling": True,
        "reward_deviation": 0.1,
    },
    "screens": {
        "num_envs": 8,
        "round_steps": 10_000,
        "random_steps": 20_000,
        "batch": 64,
        "replay": 1_000_000,
        "updates_per_step": 0.25,
        "learning_rate": 1e-4,
        "target_rate": 0.005,
        "temperature": "auto",
        "widths": (512,),
        "reward_learning_rate": 3e-4,
        "reward_clip": 1.0,
        "eval_episodes": 8,
    },
}

# What Yang, Gao, Yuan (2025) do in their code: the implicit term in every batch of the queue,
# whatever policy made that, of any length, its dropout masks its own; fragments of exactly so many
# steps; a policy near to uniform, whose critics see rewards within ± 1.
AUTHORS: dict[str, Any] = {
    "members": 1,
    "held_out": 0.0,
    "selection": "uniform",
    "reward_pooling": False,
    "reward_deviation": "none",
    "implicit_data": "queue",
    "implicit_from": 100_000,
    "implicit_ratio": math.inf,
    "baseline": False,
    "off_policy": "none",
    "temperature": "auto",
    "target_entropy": None,  # 0.89 log A
    "reward_clip": 1.0,
    "whole_fragments": True,
    "implicit_dropout": True,
}

# By the name that `--preset` gives.
NAMED: dict[str, dict[str, Any]] = {
    "authors": AUTHORS,
    # Yang, Gao, Yuan (2025), BeamRider, with the numbers of their code.
    "paper": AUTHORS
    | {
        "steps": 4_000_000,
        "pairs": 9000,
        "initial_pairs": 600,
        "schedule": "hyperbolic",
        "schedule_rounds": 2000,  # of which 400 are within the 4M steps
        "fragment_length": 25,
        "first_epochs": 512,
        "epochs": 1,
        "queue": 3000,
        "teacher_clips": True,
        "episodic_life": True,
        "num_envs": 8,
        "round_steps": 10_000,
        "random_steps": 20_000,
        "batch": 64,
        "replay": 1_000_000,
        "updates_per_step": 0.25,
        "learning_rate": 1e-4,
        "decay_steps": 8_000_000,
        "adam_eps": 1e-4,
        "target_period": 2000,  # updates, which are 8,000 steps
        "reward_learning_rate": 3e-4,
        "reward_batch": 64,
        "reward_normalization": True,
    },
    # An hour on two cores: a third of the pixels, an update a call of the environments.
    "small-atari": {
        "screen": 48,
        "steps": 40_000,
        "pairs": 400,
        "num_envs": 8,
        "round_steps": 5000,
        "random_steps": 5000,
        "batch": 32,
        "replay": 100_000,
        "updates_per_step": 0.125,
        "learning_rate": 5e-4,
        "target_rate": 0.02,
        "initial_temperature": 0.05,
        "target_entropy": 1.0,
        "widths": (256,),
        "reward_clip": 0.1,  # of points, which are whole numbers, a tenth of their signs
        "teacher_clips": True,
        "fragment_length": 15,
        "reward_batch": 16,
        "reward_learning_rate": 1e-3,
        "reward_deviation": 0.05,  # nearly that of such signs
        "epochs": 3,
        "eval_every": 4,
        "eval_episodes": 32,
    },
}


_FEW = 8  # Pendulum has 3, the least of MuJoCo's robots 11


def family(spec: "EnvSpec") -> str:
    """Which preset suits an environment."""
    from sobirl.deep.envs import Discrete  # the tables above load nothing

    if len(spec.observation_shape) == 1:
        if isinstance(spec.actions, Discrete):
            return "vectors, discrete actions"
        kind = "few numbers" if spec.observation_shape[0] <= _FEW else "vectors"
        return f"{kind}, continuous actions"
    return "screens" if spec.frame_stack > 1 else "small boards"


def suited(spec: "EnvSpec") -> dict[str, Any]:
    """All that is preset for an environment."""
    return GENERAL | FAMILIES[family(spec)]
