"""The likelihood of choices as a bilevel problem: the agent answers, the objective judges.

    maximize over θ    log L(θ) = Σ_{c,t,s,a} n_c(t,s,a) log π_{θ,c}(a|t,s)

with π_{θ,c} the optimal policy of type c, whose utilities θ sets.
"""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, Shaped

from sobirl.bilevel import BilevelProblem
from sobirl.core.status import Status
from sobirl.estimation.finite_horizon import FiniteHorizon
from sobirl.estimation.law import Law
from sobirl.mdp import SoftMDP
from sobirl.solvers import solve

Parameters = dict[str, Any]


class LinearUtility(eqx.Module):
    """u_θ = Σ_k θ_k φ_k, with features of every type.

    Attributes:
        features: parameter -> φ (C,[T,]S,A), or (C,[T,]S,A,k) of one with k numbers.
    """

    features: dict[str, Float[Array, "..."]]

    def __call__(self, x: Parameters, kind: Int[Array, ""] | int) -> Float[Array, "..."]:
        """The utility table of a type."""
        terms = []
        for name, features in self.features.items():
            value = jnp.asarray(x[name])
            # One table for all types is stored once.
            table = features[kind if features.shape[0] > 1 else 0]
            terms.append(jnp.tensordot(table, value, axes=value.ndim))
        return sum(terms[1:], start=terms[0])


class CostUtility(eqx.Module):
    """u_θ = -cost(θ, state columns..., type columns...), any JAX function.

    Attributes:
        cost: (parameters, *columns) -> (S,A), or (T,S,A) where the horizon ends.
        columns: of the state, (S,) each, by name.
        kinds: of the types, (C,) each.
        period: (T,1) where the horizon ends; given to a cost that has an argument `period`.
        shape: of what the cost gives.
    """

    cost: Callable[..., Any]
    columns: Mapping[str, Shaped[Array | np.ndarray, "S"]]
    kinds: Mapping[str, Shaped[Array | np.ndarray, "C"]]
    period: Int[Array | np.ndarray, "T 1"] | None
    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, x: Parameters, kind: Int[Array, ""] | int) -> Float[Array, "..."]:
        """The utility table of a type."""
        own = {name: jnp.asarray(values)[kind] for name, values in self.kinds.items()}
        more = {} if self.period is None else {"period": self.period}
        cost = self.cost(x, *self.columns.values(), *own.values(), **more)
        return jnp.broadcast_to(-jnp.asarray(cost), self.shape)


class Agent(eqx.Module):
    """`follower(x, kind)`: the problem that an agent of a type solves.

    Attributes:
        utility: (parameters, type) -> u.
        law: type -> P.
        discount: γ.
        scale: τ, that of the shocks.
        available: weights of the actions (S,A), 0 where there is none; None for all.
        horizon: T, or None for ever.
    """

    utility: Callable[..., Float[Array, "..."]]
    law: Law
    discount: Float[Array, ""]
    scale: Float[Array, ""]
    available: Float[Array | np.ndarray, "S A"] | None = None
    horizon: int | None = eqx.field(static=True, default=None)

    def __call__(self, x: Parameters, kind: Int[Array, ""] | int = 0) -> SoftMDP | FiniteHorizon:
        """The lower level."""
        law, reward = self.law(kind), self.utility(x, kind)
        states = law.shape[0]
        if self.horizon is None:
            start = jnp.zeros(states).at[0].set(1.0)
            return SoftMDP(law, reward, self.discount, self.scale, start, self.available)
        if self.available is None:
            log_reference = jnp.zeros(law.shape)
        else:
            log_reference = jnp.where(self.available > 0, 0.0, -jnp.inf)
        reward = jnp.broadcast_to(reward, (self.horizon, *law.shape))
        return FiniteHorizon(law, reward, self.discount, self.scale, log_reference)


class Choices(eqx.Module):
    """`objective(x, response, kind)`: -Σ n log π of the choices of one type.

    Attributes:
        places: the states, or periods and states as one number, in which somebody chose (C,n);
            padded with some of them again, whose counts are 0.
        counts: how often each action was chosen there (C,n,A).
    """

    places: Int[Array, "C n"]
    counts: Float[Array, "C n A"]

    def __call__(self, x: Parameters, response: Any, kind: Int[Array, ""] | int = 0):
        """-log L of one type."""
        log_policy = self.at(response, kind)
        counts = jnp.asarray(self.counts)[kind]
        return -jnp.sum(counts * jnp.where(counts > 0, log_policy, 0.0))

    def at(self, response: Any, kind: Int[Array, ""] | int) -> Float[Array, "n A"]:
        """log π where somebody chose."""
        log_policy = response.log_policy
        return log_policy.reshape(-1, log_policy.shape[-1])[jnp.asarray(self.places)[kind]]


def count_choices(
    kind: np.ndarray, place: np.ndarray, action: np.ndarray, kinds: int, num_actions: int
) -> tuple[Choices, Int[np.ndarray, "N"]]:
    """The counts of N choices, and which of the n places of its type each is in."""
    found, index = [], np.zeros(len(kind), np.int64)
    for c in range(kinds):
        own = kind == c
        places, index[own] = np.unique(place[own], return_inverse=True)
        found.append(places)
    # A power of two, so that samples of one model seldom differ in shape and share programs.
    most = 1 << (max(1, *map(len, found)) - 1).bit_length()
    places = np.zeros((kinds, most), np.int64)
    for c, own in enumerate(found):
        places[c] = np.resize(own, most) if len(own) else 0
    counts = np.zeros((kinds, most, num_actions))
    np.add.at(counts, (kind, index, action), 1.0)
    return Choices(jnp.asarray(places), jnp.asarray(counts)), index


def as_problem(follower: Callable, objective: Callable, kinds: int) -> BilevelProblem:
    """-log L, the sum over types, as a bilevel problem."""
    if kinds == 1:
        return BilevelProblem(follower, objective)
    return BilevelProblem(follower, objective, jnp.arange(kinds), np.ones(kinds))


def choice_table(
    problem: BilevelProblem, choices: Choices, x: PyTree
) -> tuple[Float[Array, "C n A"], Int[Array, ""]]:
    """log π where somebody chose, of every type, and how the followers were solved."""

    def one(context):
        kind = 0 if context is None else context
        solution = solve(problem.lower(x, context), throw=False)
        status = getattr(solution, "status_code", int(Status.CONVERGED))
        return choices.at(solution, kind), jnp.asarray(status)

    table, status = problem.each_context(one)
    return (table if problem.contexts is not None else table[None]), jnp.max(status)
