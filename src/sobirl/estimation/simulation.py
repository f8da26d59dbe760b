"""Agents who follow the optimal policy, step by step."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sobirl.estimation.likelihood import Agent
from sobirl.solvers import solve


def paths(
    agent: Agent, x: Mapping[str, Any], kind: int, begin: np.ndarray, draws: np.ndarray
) -> tuple[Array, Array]:
    """States and actions (T,N) of agents of a type.

    Args:
        agent: the follower.
        x: its parameters.
        kind: the type.
        begin: the first states (N,).
        draws: uniform numbers for choices and moves (2,T,N).
    """

    @eqx.filter_jit
    def run(agent, x, kind, begin, draws):
        problem = agent(x, kind)
        log_policy = solve(problem, throw=False).log_policy
        law = agent.law(kind)

        def step(state, now):
            period, (shock, move) = now
            table = log_policy if agent.horizon is None else log_policy[period]
            chances = jnp.cumsum(jnp.exp(table[state]), axis=-1)
            action = jnp.sum(shock[:, None] * chances[:, -1:] >= chances[:, :-1], axis=-1)
            return law.next_state(move, state, action).astype(state.dtype), (state, action)

        return jax.lax.scan(step, begin, (jnp.arange(draws.shape[1]), (draws[0], draws[1])))[1]

    return run(agent, x, kind, jnp.asarray(begin), jnp.asarray(draws))
