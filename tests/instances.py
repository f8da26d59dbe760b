"""Plain tables of random MDPs, and the files that tests read."""

from pathlib import Path

import numpy as np

INSTANCE = Path(__file__).parent / "problems" / "data" / "msobirl_random_mdp_seed3.npz"


def random_tables(seed: int, states: int, actions: int):
    """P (S,A,S), r (S,A) and ρ (S,) as NumPy arrays."""
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.full(states, 0.5), size=(states, actions))
    return transition, rng.normal(size=(states, actions)), rng.dirichlet(np.ones(states))
