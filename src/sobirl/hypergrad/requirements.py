"""What methods ask of a problem before they start."""

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.core.protocols import Problem
from sobirl.mdp import SoftMDP

Objective = TypeVar("Objective")

_ENTRY_POINTS = {
    "reward": lambda mdp: mdp.reward,
    "transition": lambda mdp: eqx.filter(mdp.transition, eqx.is_inexact_array),
    "discount": lambda mdp: mdp.discount,
    "temperature": lambda mdp: mdp.temperature,
    "initial": lambda mdp: mdp.initial,
    "reference policy": lambda mdp: mdp.log_reference,
}


def soft_mdp(method: str, problem: Problem, x: PyTree, context: PyTree) -> SoftMDP:
    """The lower level at x, for a method that needs its Bellman equation or a simulator of it.

    Raises:
        InvalidInputError: the follower gives something else than a `SoftMDP`.
    """
    lower = problem.lower(x, context)
    if not isinstance(lower, SoftMDP):
        raise InvalidInputError(
            f"follower: must return a SoftMDP for {method}, got {type(lower).__name__}"
        )
    return lower


def known_objective(method: str, problem: Problem, kind: type[Objective]) -> Objective:
    """The objective, for a method that estimates it from trajectories.

    Raises:
        InvalidInputError: the objective is not of this kind.
    """
    if not isinstance(problem.objective, kind):
        raise InvalidInputError(
            f"objective: {method} works from trajectories and needs a sobirl.{kind.__name__}, got "
            f"{getattr(problem.objective, '__name__', type(problem.objective).__name__)}; Exact(), "
            "AMD() and ZeroOrder() take any function of the response"
        )
    return problem.objective


def check_entry_points(
    method: str, problem: Problem, x: PyTree, key: Key[Array, ""], allowed: tuple[str, ...]
) -> None:
    """See, from the derivative in one random direction, where x enters the follower's soft MDP.

    Raises:
        InvalidInputError: it enters where the method has no derivative.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(x)):
        return
    leaves, treedef = jax.tree.flatten(x)
    keys = jax.random.split(key, max(len(leaves), 1))
    direction = [
        jax.random.normal(k, jnp.shape(leaf), jnp.result_type(leaf))
        for k, leaf in zip(keys, leaves, strict=False)
    ]

    def entry_points(x):
        def one(context):
            mdp = soft_mdp(method, problem, x, context)
            return {name: look(mdp) for name, look in _ENTRY_POINTS.items() if name not in allowed}

        return problem.each_context(one)

    _, moved = jax.jvp(entry_points, (x,), (jax.tree.unflatten(treedef, direction),))
    for name, changes in moved.items():
        leaves = jax.tree.leaves(changes)
        if any(isinstance(change, jax.core.Tracer) for change in leaves):
            return  # inside `jit` even what is computed from numbers cannot be looked at
        if any(jnp.any(change != 0) for change in leaves):
            raise InvalidInputError(
                f"{method}: the leader's x enters the follower's {name}, which this method does "
                "not differentiate; use Exact()"
            )
