"""Random soft MDPs of few fixed shapes, and the same mathematics in plain numpy."""

import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from sobirl.mdp import Dense, SoftMDP, SuccessorList

STATES, ACTIONS, SUCCESSORS = 5, 3, 2
EPS = np.finfo(np.float64).eps

seeds = st.integers(0, 2**32 - 1)
# From grids: hypothesis would else spend half its examples on the easy ends of an interval.
discounts = st.sampled_from([float(x) for x in 1 - np.geomspace(0.9, 1e-3, 31)])
temperatures = st.sampled_from([float(x) for x in np.geomspace(0.01, 10, 31)])


def rounding(scale, discount=0.0):
    """What the rounding of numbers of this size can become in a discounted sum of them."""
    return 16 * EPS * scale / (1 - discount)


def random_rows(rng, size=STATES):
    """Probabilities (S,A,size), none of them tiny."""
    rows = rng.uniform(0.1, 1, size=(STATES, ACTIONS, size)) ** 2
    return rows / rows.sum(axis=-1, keepdims=True)


def random_successors(rng):
    """Distinct successors (S,A,K)."""
    order = rng.permuted(np.tile(np.arange(STATES), (STATES, ACTIONS, 1)), axis=-1)
    return order[..., :SUCCESSORS]


def random_dense(rng):
    return Dense(random_rows(rng))


def random_successor_list(rng):
    return SuccessorList(random_successors(rng), random_rows(rng, SUCCESSORS))


OPERATORS = {"Dense": random_dense, "SuccessorList": random_successor_list}


def random_mdp(seed, discount=0.9, temperature=0.5, operator="Dense", **changes):
    """A soft MDP with rewards in [-1, 1] and a reference policy; `changes` replace arguments."""
    rng = np.random.default_rng(seed)
    arguments = {
        "transition": OPERATORS[operator](rng),
        "reward": rng.uniform(-1, 1, size=(STATES, ACTIONS)),
        "discount": discount,
        "temperature": temperature,
        "initial": rng.dirichlet(np.ones(STATES)),
        "reference_policy": rng.uniform(0.2, 1, size=(STATES, ACTIONS)),
    }
    return SoftMDP(**(arguments | changes))


def random_policy(seed):
    """A policy (S,A) without rare actions."""
    weights = np.random.default_rng(seed).uniform(0.1, 1, size=(STATES, ACTIONS))
    return jnp.asarray(weights / weights.sum(axis=-1, keepdims=True))


def table(transition):
    """P (S,A,S) as a numpy array, found from `expect` alone."""
    columns = [transition.expect(unit) for unit in jnp.eye(transition.shape[0])]
    return np.stack(columns, axis=-1)


def numpy_backup(mdp, value):
    """(T V, Q, π) in plain numpy."""
    temperature = np.asarray(mdp.temperature)
    q = np.asarray(mdp.reward) + np.asarray(mdp.discount) * (table(mdp.transition) @ value)
    reference = 1.0 if mdp.reference_policy is None else np.asarray(mdp.reference_policy)
    peak = q.max(axis=-1, keepdims=True)
    weights = reference * np.exp((q - peak) / temperature)
    total = weights.sum(axis=-1, keepdims=True)
    return (peak + temperature * np.log(total))[:, 0], q, weights / total
