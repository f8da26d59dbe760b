"""Panels of agents who follow the optimal policy."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sobirl.core.errors import InvalidInputError
from sobirl.estimation.layout import as_parameters
from sobirl.estimation.levels import size, sizes
from sobirl.estimation.likelihood import Agent
from sobirl.solvers import solve

if TYPE_CHECKING:
    from sobirl.estimation.model import DiscreteChoice


def simulate(
    model: "DiscreteChoice",
    parameters: Mapping[str, Any],
    *,
    units: int,
    periods: int,
    seed: int,
    initial: Any,
    names: tuple[str, str, str, str],
) -> dict[str, np.ndarray]:
    """See `DiscreteChoice.simulate`; `names` are those of unit, period, state and action."""
    for name, count in (("units", units), ("periods", periods)):
        if count < 1:
            raise InvalidInputError(f"{name}: must be at least 1, got {count}")
    if model.horizon is not None and periods > model.horizon:
        raise InvalidInputError(f"periods: at most the horizon {model.horizon}, got {periods}")
    unit, period, state, action = names
    agent, spaces, kinds = model.known(state)
    x = as_parameters(parameters, model.first_values(spaces, kinds))
    rng = np.random.default_rng(seed)
    if np.ndim(initial) == 0:
        begin = np.full(units, int(initial))
    else:
        begin = rng.choice(size(spaces), size=units, p=np.asarray(initial, np.float64))
    kind = np.arange(units) % size(kinds)
    draws = rng.random((2, periods, units))
    visited, chosen = np.zeros((2, periods, units), np.int64)
    for c in range(size(kinds)):
        own = kind == c
        path = paths(agent, x, c, begin[own], draws[:, :, own])
        visited[:, own], chosen[:, own] = np.asarray(path[0]), np.asarray(path[1])
    places = np.unravel_index(visited.T.ravel(), sizes(spaces))
    types = np.unravel_index(np.repeat(kind, periods), sizes(kinds)) if kinds else ()
    columns = {
        unit: np.repeat(np.arange(units), periods),
        period: np.tile(np.arange(periods), units),
    }
    columns |= {c: s.values[p] for (c, s), p in zip(spaces.items(), places, strict=True)}
    columns |= {c: s.values[p] for (c, s), p in zip(kinds.items(), types, strict=True)}
    return columns | {action: model.action_levels.values[chosen.T.ravel()]}


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
