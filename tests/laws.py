"""Transition laws of every kind, small and large."""

import jax
import jax.numpy as jnp
import numpy as np

from mdps import random_dense, random_successor_list
from sobirl.mdp import FunctionTransition, PostDecision, Product, SuccessorList

SIDE = 50


@jax.jit
def table(law):
    """P (S,A,S), found from `expect` alone, in one program."""
    return jax.vmap(lambda unit: law.expect(unit), out_axes=-1)(jnp.eye(law.shape[0]))


def grid(side=SIDE):
    """Four moves on a grid that end at any neighbor (S,4,4); walls are where it ends."""
    down, right = np.divmod(np.arange(side**2), side)
    neighbors = [
        np.clip(down + i, 0, side - 1) * side + np.clip(right + j, 0, side - 1)
        for i, j in ((1, 0), (0, 1), (-1, 0), (0, -1))
    ]
    return np.stack([np.roll(np.stack(neighbors, -1), turn, -1) for turn in range(4)], 1)


def grid_with_restart(side=SIDE):
    """The same; a hundred states, in which episodes end, lead back to the first."""
    successors = grid(side)
    successors[700:800] = 0
    return successors


def chances(rng, successors):
    """Probabilities (S,A,K) at random."""
    return rng.dirichlet(np.ones(successors.shape[-1]), successors.shape[:2])


def random_grid(rng, side=SIDE):
    successors = grid_with_restart(side)
    return SuccessorList(successors, chances(rng, successors))


def queue(arguments, state, action):
    """A queue of 40: a customer comes, or one is served the sooner the higher the action."""
    arrival, service = arguments
    up, down = arrival, (1 - arrival) * service * (action + 1) / 3
    there = jnp.stack([jnp.minimum(state + 1, 39), jnp.maximum(state - 1, 0), state])
    return there, jnp.stack([up, down, 1 - up - down])


def function_of_arguments(rng):
    return FunctionTransition(queue, 40, 3, arguments=tuple(rng.uniform(0.2, 0.8, 2)), block=16)


def function_of_closure(rng):
    inside = jnp.asarray(rng.uniform(0.2, 0.8, 2))
    return FunctionTransition(lambda s, a: queue(inside, s, a), 40, 3, block=40)


MACHINES = (4, 3, 2)
SERVICE = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]


def machines(rng):
    """The tables of three machines that are left alone or serviced."""
    return [rng.dirichlet(np.ones(size), (size, 2)) for size in MACHINES]


def fleet(rng):
    return Product(machines(rng), SERVICE)


def fleet_of_lists(rng):
    """A product of lists; a component may be a function."""
    first = SuccessorList(rng.integers(0, 12, (12, 2, 2)), rng.dirichlet(np.ones(2), (12, 2)))
    return Product([first, function_of_arguments(rng)], [[0, 0], [1, 2], [0, 1]])


def stock(rng):
    """12 levels of stock, 3 orders, 14 levels after the order; then customers come."""
    level, order = np.mgrid[:12, :3]
    return PostDecision(level + order, rng.dirichlet(np.ones(12), 14))


LAWS = {
    "Dense": random_dense,
    "SuccessorList": random_successor_list,
    "a grid": random_grid,
    "a function of arguments": function_of_arguments,
    "a function of a closure": function_of_closure,
    "post-decision states": stock,
    "a fleet": fleet,
    "a fleet of lists": fleet_of_lists,
}
