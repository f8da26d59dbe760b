"""A small model of machines that wear, the same mathematics in plain NumPy, and a panel of it."""

import numpy as np

import sobirl as sb

SIZE, DISCOUNT = 6, 0.9
CHANCES = np.array([0.3, 0.5, 0.2])
TRUTH = {"rc": 3.0, "wear": 0.8}


def machines(**changes):
    """Keep at a cost 0.8 s, or replace at a cost 3; s moves on by 0, 1 or 2."""
    options = {
        "states": {"wear_state": SIZE},
        "actions": ("keep", "replace"),
        "features": {"rc": {"replace": -1.0}, "wear": {"keep": lambda s: -s}},
        "discount": DISCOUNT,
        "transitions": sb.Increments(3, reset=["replace"]),
    }
    return sb.DiscreteChoice(**(options | changes))


def known(**changes):
    return machines(
        transitions=sb.Increments(3, reset=["replace"], probabilities=CHANCES), **changes
    )


def law_of(chances, size=SIZE):
    table = np.zeros((size, 2, size))
    for s in range(size):
        for j, p in enumerate(chances):
            table[s, 0, min(s + j, size - 1)] += p
            table[s, 1, j] += p
    return table


def log_policy(theta, chances=CHANCES, discount=DISCOUNT):
    """log π (S,2) by value iteration."""
    law, s = law_of(chances), np.arange(SIZE)
    utility = np.stack([-theta[1] * s, np.full(SIZE, -theta[0])], axis=1)
    value = np.zeros(SIZE)
    for _ in range(600):
        q = utility + discount * law @ value
        value = np.logaddexp(q[:, 0], q[:, 1])
    return q - value[:, None]


def neg_log_likelihood(theta, counts, chances=CHANCES):
    return -np.sum(counts * log_policy(theta, chances))


def counts_of(panel):
    counts = np.zeros((SIZE, 2))
    np.add.at(counts, (panel["wear_state"], (panel["action"] == "replace").astype(int)), 1)
    return counts
