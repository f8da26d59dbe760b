"""Rust's likelihood by a nested fixed point in plain numpy: the witness for sobirl's."""

import numpy as np
from scipy.optimize import minimize

STATES = 90
S = np.arange(STATES, dtype=float)

# The costs once more, written out.
COSTS = {
    "linear": lambda t: 0.001 * t[0] * S,
    "sqrt": lambda t: 0.01 * t[0] * np.sqrt(S),
    "quadratic": lambda t: 1e-3 * t[0] * S + 1e-5 * t[1] * S**2,
    "cubic": lambda t: 1e-3 * t[0] * S + 1e-5 * t[1] * S**2 + 1e-7 * t[2] * S**3,
    "hyperbolic": lambda t: 0.1 * t[0] / (91 - S),
}


def transitions(p):
    """P (90,90) when the engine is kept, and the row when it is replaced."""
    keep = np.zeros((STATES, STATES))
    for s in range(STATES):
        for j, probability in enumerate(p):
            keep[s, min(s + j, STATES - 1)] += probability
    return keep, keep[0]


def neg_log_likelihood(x, cost, counts, p, discount=0.9999):
    """-log L at (RC, θ) = x of decision counts (90,2)."""
    keep, renewed = transitions(p)
    reward = -COSTS[cost](x[1:])

    def log_odds(value):
        stay = reward + discount * keep @ value
        leave = -x[0] + discount * renewed @ value
        return leave - stay, np.logaddexp(stay, leave)

    value = np.zeros(STATES)
    for _ in range(100):  # Newton's method on V = T V
        odds, backup = log_odds(value)
        replace = 1 / (1 + np.exp(-odds))
        matrix = (1 - replace)[:, None] * keep + replace[:, None] * renewed
        step = np.linalg.solve(np.eye(STATES) - discount * matrix, backup - value)
        value = value + step
        if np.abs(step).max() < 1e-10 * max(1, np.abs(value).max()):
            break
    odds, _ = log_odds(value)
    return counts[:, 0] @ np.logaddexp(0, odds) + counts[:, 1] @ np.logaddexp(0, -odds)


def minimize_without_gradients(x0, *args):
    """(RC, θ) and -log L at the end of Nelder and Mead's method, restarted once."""
    options = {"xatol": 1e-6, "fatol": 1e-10, "maxfev": 1500, "adaptive": True}
    for _ in range(2):
        result = minimize(neg_log_likelihood, x0, args=args, method="Nelder-Mead", options=options)
        x0 = result.x
    return result.x, result.fun
