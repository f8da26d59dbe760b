"""Rust (1987): when does Harold Zurcher replace a bus engine?

An engine that has run s mileage bins of 5,000 miles, s = 0..89, is kept at a cost c(s; θ) and
wears on, or is replaced at a cost RC:

    r(s, keep)    = -c(s; θ),     s' = min(s + j, 89) with probability p_j, j = 0, 1, 2
    r(s, replace) = -RC,          s' = j              with probability p_j

With extreme-value shocks of scale 1 to either reward, known to Zurcher only, his choices follow
the policy π of the soft MDP with temperature τ = 1 and discount γ = 0.9999. The leader is the
econometrician: x = {"replacement_cost": RC, "theta": θ} minimizes

    f(x) = -log L(x) = -Σ_{s,a} n(s, a) log π_x(a|s)

where n counts the decisions in periods ≥ 1; p comes from the recorded increments beforehand
(Rust's first stage). Replacing costs RC alone: for the hyperbolic cost, where c(0) ≠ 0, codes
that add c(0) report another RC at the same likelihood.

Sources: Rust, Optimal Replacement of GMC Bus Engines, Econometrica 55 (1987), table IX.
Estimating it as a bilevel problem: Yang, Gao, Yuan (2025), section 2.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobirl.bilevel import BilevelProblem
from sobirl.core.checks import as_float_array, check_shape
from sobirl.core.errors import InvalidInputError
from sobirl.estimation import DiscreteChoice, Increments
from sobirl.estimation.likelihood import Agent, Choices, as_problem
from sobirl.problems.rust_costs import COSTS, DISCOUNT, GROUP4_ESTIMATES, STATES, Cost
from sobirl.problems.rust_data import (
    INCREMENTS,
    NOT_RECORDED,
    Panel,
    check_estimable,
    group4,
    load_panel,
    to_csv,
)
from sobirl.solvers import solve

__all__ = [
    "COSTS",
    "DISCOUNT",
    "GROUP4_ESTIMATES",
    "GROUP4_PROBABILITIES",
    "STATES",
    "Cost",
    "Panel",
    "bus_mdp",
    "check_estimable",
    "group4",
    "load_panel",
    "model",
    "problem",
    "simulate",
    "to_csv",
]

KEEP, REPLACE = 0, 1
GROUP4_PROBABILITIES = np.array([1682, 2555, 55]) / 4292


def cost_named(name: str) -> Cost:
    """The cost function of a name.

    Raises:
        InvalidInputError: there is none.
    """
    if name not in COSTS:
        raise InvalidInputError(f"cost: there is no {name!r}; choose from {', '.join(COSTS)}")
    return COSTS[name]


def model(cost: str = "linear", discount: float = DISCOUNT, probabilities=None) -> DiscreteChoice:
    """Rust's model as a `DiscreteChoice`, to be fitted to a table with the columns of a panel.

    Args:
        cost: a name in `COSTS`.
        discount: γ in [0, 1).
        probabilities: p (3,) of driving 0, 1 or 2 bins in a period; by default they are estimated
            from the column usage.

    Raises:
        InvalidInputError: an unknown cost, or probabilities or a discount out of range.
    """
    basis = cost_named(cost).basis
    replace = np.zeros((STATES, 2))
    replace[:, REPLACE] = -1.0
    keep = np.zeros((STATES, 2, len(basis)))
    keep[:, KEEP] = -basis.T
    column = "usage" if probabilities is None else None
    return DiscreteChoice(
        states={"state": STATES},
        actions=("keep", "replace"),
        features={"replacement_cost": replace, "theta": keep},
        transitions=Increments(INCREMENTS, ["replace"], column, probabilities=probabilities),
        discount=discount,
    )


def bus_mdp(cost: str, probabilities, discount: float = DISCOUNT) -> Agent:
    """The follower: x = {"replacement_cost": RC, "theta": θ (k,)} -> `SoftMDP`.

    Arguments and errors as for `model`.
    """
    p = as_float_array("probabilities", probabilities, "must not be negative", lambda p: p >= 0)
    check_shape("probabilities", p, (INCREMENTS,))
    return model(cost, discount, p).known_agent()


def problem(
    cost: str, counts, probabilities=GROUP4_PROBABILITIES, discount: float = DISCOUNT
) -> BilevelProblem:
    """Maximum likelihood as a bilevel problem: x minimizes -log L of the follower's choices.

    Args:
        cost: a name in `COSTS`.
        counts: how often each state was followed by each action (90,2): `Panel.decision_counts`.
        probabilities: p (3,): `Panel.transition_probabilities`.
        discount: γ in [0, 1).

    Raises:
        InvalidInputError: as `bus_mdp`, or counts of the wrong shape, negative or not finite.
    """
    counts = as_float_array("counts", counts, "must not be negative", lambda n: n >= 0)
    check_shape("counts", counts, (STATES, 2))
    return as_problem(
        bus_mdp(cost, probabilities, discount), Choices(jnp.arange(STATES)[None], counts[None]), 1
    )


def parameters(cost: str, replacement_cost: float, theta) -> dict[str, Array]:
    """The leader's x.

    Raises:
        InvalidInputError: an unknown cost, a θ of the wrong length, or a number that is not finite.
    """
    theta = as_float_array("theta", np.asarray(theta, np.float64))
    expected = cost_named(cost).num_parameters
    if theta.shape != (expected,):
        raise InvalidInputError(
            f"theta: the {cost} cost has {expected} parameter{'s' * (expected > 1)}, got shape "
            f"{theta.shape}"
        )
    replacement = as_float_array("replacement_cost", replacement_cost)
    check_shape("replacement_cost", replacement, ())
    return {"replacement_cost": replacement, "theta": theta}


def simulate(
    cost: str = "linear",
    replacement_cost: float | None = None,
    theta=None,
    *,
    buses: int = 500,
    periods: int = 120,
    probabilities=GROUP4_PROBABILITIES,
    discount: float = DISCOUNT,
    seed: int = 0,
) -> Panel:
    """A panel of buses that follow the optimal policy, by the conventions of Rust's data.

    Every bus starts at 0. Decisions are drawn from π(·|s) at the state of the row; the row after
    a replacement has state 0 and the drawn increment as its usage, and mileage goes on from 0.

    Args:
        cost: a name in `COSTS`.
        replacement_cost: RC; by default the estimate for Rust's group 4.
        theta: θ (k,); by default likewise.
        buses: number of buses.
        periods: rows a bus, the first of which (period 0) no estimate uses.
        probabilities: p (3,).
        discount: γ in [0, 1).
        seed: the same seed gives the same panel.

    Raises:
        InvalidInputError: as `bus_mdp`, or a count below 1.
    """
    for name, count in (("buses", buses), ("periods", periods)):
        if count < 1:
            raise InvalidInputError(f"{name}: must be at least 1, got {count}")
    follower = bus_mdp(cost, probabilities, discount)
    default_cost, default_theta = GROUP4_ESTIMATES[cost]
    x = parameters(
        cost,
        default_cost if replacement_cost is None else replacement_cost,
        default_theta if theta is None else theta,
    )
    replace_probability = np.asarray(jax.jit(_policy)(follower, x))[:, REPLACE]

    rng = np.random.default_rng(seed)
    p = np.asarray(probabilities, np.float64)
    usage = rng.choice(INCREMENTS, size=(periods, buses), p=p / p.sum())
    usage[0] = NOT_RECORDED
    shocks = rng.random((periods, buses))
    state, decision = (np.zeros((periods, buses), np.int64) for _ in range(2))
    for t in range(periods):
        if t:
            worn = np.minimum(state[t - 1] + usage[t], STATES - 1)
            state[t] = np.where(decision[t - 1] == REPLACE, 0, worn)
        decision[t] = shocks[t] < replace_probability[state[t]]

    names = np.arange(1, buses + 1).astype(str)
    return Panel(
        bus=np.repeat(names, periods),
        period=np.tile(np.arange(periods), buses),
        state=state.T.ravel(),
        usage=usage.T.ravel(),
        decision=decision.T.ravel(),
    )


def _policy(follower: Agent, x) -> Float[Array, "90 2"]:
    return solve(follower(x)).policy
