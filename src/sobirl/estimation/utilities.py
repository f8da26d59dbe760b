"""The utilities that a model says, as tables over states and actions."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sobirl.core.checks import as_float_array
from sobirl.core.errors import InvalidInputError
from sobirl.core.reading import listed, suggestion
from sobirl.estimation.levels import Levels, Space, size, size_of, state_columns
from sobirl.estimation.likelihood import CostUtility, LinearUtility


def check_actions(name: str, spec: Mapping, actions: Levels) -> None:
    """Raise for what is said of an action that there is not."""
    labels = actions.labels
    for action in spec:
        if action not in labels:
            known = [str(label) for label in labels]
            raise InvalidInputError(
                f"{name}: {action!r} is no action{suggestion(str(action), known)}; actions are "
                f"{listed(known)}"
            )


def availability(
    available: Any, spaces: dict[str, Space], actions: Levels
) -> Float[np.ndarray, "S A"] | None:
    """Which actions there are, 1 or 0; None for all."""
    if available is None:
        return None
    shape = size(spaces), len(actions.labels)
    if isinstance(available, Mapping):
        check_actions("available", available, actions)
        columns = list(state_columns(spaces).values())
        weights = np.ones(shape)
        for action, spec in available.items():
            there = spec(*columns) if callable(spec) else spec
            weights[:, actions.labels.index(action)] = np.asarray(there) != 0
    else:
        weights = (np.asarray(available) != 0).astype(np.float64)
        if weights.shape != shape:
            raise InvalidInputError(f"available: expected shape {shape}, got {weights.shape}")
    none = np.flatnonzero(weights.sum(axis=1) == 0)
    if len(none):
        raise InvalidInputError(f"available: there is no action in state {none[0]}")
    return weights


def utility_of(
    features: Mapping[str, Any] | None,
    cost: Callable[..., Any] | None,
    parameters: Mapping[str, Any] | None,
    spaces: dict[str, Space],
    kinds: dict[str, Space],
    actions: Levels,
    horizon: int | None,
) -> LinearUtility | CostUtility:
    """The utility of a model with features or a cost; see `DiscreteChoice`."""
    columns, types = state_columns(spaces), state_columns(kinds)
    period = None if horizon is None else np.arange(horizon)[:, None]
    shape = (size(spaces), len(actions.labels))
    shape = shape if horizon is None else (horizon, *shape)
    if cost is not None:
        wants = "period" in inspect.signature(cost).parameters
        utility = CostUtility(cost, columns, types, period if wants else None, shape)
        _check_cost(utility, parameters or {})
        return utility
    assert features is not None
    return LinearUtility(
        {
            str(name): jnp.asarray(
                _features(str(name), spec, columns, types, shape, actions, horizon)
            )
            for name, spec in features.items()
        }
    )


def _features(name, spec, columns, types, shape, actions, horizon) -> np.ndarray:
    """φ (C,[T,]S,A[,k]) of one parameter; C = 1 where the type does not matter."""
    where = f"features[{name!r}]"
    if not isinstance(spec, Mapping):
        table = np.asarray(as_float_array(where, spec), np.float64)
        plain = shape[-2:]
        if table.shape[:2] == plain and table.ndim in (2, 3):
            more = table.shape[2:]
            return np.broadcast_to(table, (*shape[:-2], *plain, *more))[None]
        raise InvalidInputError(
            f"{where}: expected a mapping from actions, or shape {plain} or "
            f"{(*plain, 'k')}, got {table.shape}"
        )
    num_kinds = size_of(types)
    varies = num_kinds > 1 and any(callable(entry) for entry in spec.values())
    found = np.zeros((num_kinds if varies else 1, *shape))
    for action, entry in spec.items():
        place = actions.labels.index(action)
        for c in range(len(found)):
            own = [values[c] for values in types.values()]
            value = _evaluate(f"{where}[{action!r}]", entry, columns, own, horizon)
            try:
                found[c, ..., place] = np.broadcast_to(value, shape[:-1])
            except ValueError:
                raise InvalidInputError(
                    f"{where}[{action!r}]: expected a number or shape {shape[:-1]}, got "
                    f"{value.shape}"
                ) from None
    return found


def _evaluate(where: str, entry: Any, columns, own, horizon) -> np.ndarray:
    """What a user says of a feature, in numbers."""
    if callable(entry):
        more = {}
        if horizon is not None and "period" in inspect.signature(entry).parameters:
            more["period"] = np.arange(horizon)[:, None]
        try:
            entry = entry(*columns.values(), *own, **more)
        except TypeError as error:
            raise InvalidInputError(
                f"{where}: could not be called with the columns {', '.join(columns)} ({error})"
            ) from error
    return np.asarray(as_float_array(where, entry), np.float64)


def _check_cost(utility: CostUtility, parameters: Mapping[str, Any]) -> None:
    values = {name: jnp.asarray(v, jnp.result_type(float)) for name, v in parameters.items()}
    try:
        jax.eval_shape(lambda x: utility(x, 0), values)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise InvalidInputError(
            f"cost: could not be called as cost(parameters, {', '.join(utility.columns)}) for a "
            f"table {utility.shape} ({error})"
        ) from error
