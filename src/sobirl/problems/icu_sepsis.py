"""ICU-Sepsis: tables of real dynamics, estimated from intensive care, and simulated clinicians.

716 states (713 clusters of patients' vital signs, death, survival, and the end), 25 actions (five
levels of fluids times five of vasopressors), as published. A clinician of ours follows the soft
optimal policy for a reward of four features; inverse reinforcement learning recovers its weights.
This tests a method. It says nothing about how sepsis should be, or is, treated.

Source: Choudhary, Gupta, Thomas, ICU-Sepsis: A Benchmark MDP Built from Real Medical Data, RLC
2024, from the package icu-sepsis (MIT), of which only the tables are read. The order of actions,
5 · fluids + vasopressors, is that of its `create_rl_table.py` (github.com/icu-sepsis/icu-sepsis).
"""

import importlib.util
from pathlib import Path

import numpy as np

from sobirl.core.errors import InvalidInputError
from sobirl.mdp import Dense, SoftMDP
from sobirl.problems.inverse_rl import World

DEATH, SURVIVAL, END = 713, 714, 715
LEVELS = 5
NAMES = ("survival", "severity", "fluids", "vasopressors")
# What a simulated clinician is given for surviving patients, and pays for a step at the highest
# SOFA score and at the highest doses.
WEIGHTS = (1.0, -0.05, -0.02, -0.05)
_LARGEST_SOFA = 24.0


def folder() -> Path:
    """Where the package's tables are.

    Raises:
        InvalidInputError: it is not installed.
    """
    found = importlib.util.find_spec("icu_sepsis")
    if found is None or found.origin is None:
        raise InvalidInputError(
            "icu-sepsis: the package with the tables is not installed: pip install 'sobirl[icu]'"
        )
    return Path(found.origin).parent / "envs" / "assets"


def icu_sepsis(discount: float = 0.99, temperature: float = 0.02) -> World:
    """The world of the simulated clinicians.

    Args:
        discount: γ.
        temperature: τ, in units of a survival.

    Raises:
        InvalidInputError: the package is not installed.
    """
    with np.load(folder() / "dynamics.npz", allow_pickle=False) as tables:
        moves, initial = np.array(tables["tx_mat"], np.float64), np.array(tables["d_0"], np.float64)
        severity = np.array(tables["sofa_scores"], np.float64)
        centers = np.array(tables["state_cluster_centers"], np.float64)
    lines = (folder() / "admissible_actions.txt").read_text().splitlines()
    allowed = np.zeros(moves.shape[:2])
    for state, line in enumerate(lines[1 : len(allowed) + 1]):
        allowed[state, [int(action) for action in line.split()]] = 1.0
    over = np.isin(np.arange(len(allowed)), (DEATH, SURVIVAL, END))
    allowed[over] = 0.0
    allowed[over, 0] = 1.0
    moves /= moves.sum(axis=2, keepdims=True)
    fluids, vasopressors = np.divmod(np.arange(LEVELS**2), LEVELS)
    features = np.stack(
        np.broadcast_arrays(
            moves[:, :, SURVIVAL],
            (severity / _LARGEST_SOFA)[:, None],
            (fluids / (LEVELS - 1))[None],
            (vasopressors / (LEVELS - 1))[None],
        ),
        axis=2,
    ).copy()
    features[over] = 0.0
    spread = centers.std(axis=0)
    inputs = (centers - centers.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    mdp = SoftMDP(
        Dense(moves), np.zeros(allowed.shape), np.where(over, 0.0, discount)[:, None] * allowed**0,
        temperature, initial / initial.sum(), allowed,
    )  # fmt: skip
    return World(mdp, features, NAMES, np.array(WEIGHTS), inputs)
