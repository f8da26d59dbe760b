"""Parameters and transitions estimated in one likelihood: Rust's third stage.

    log L(θ, ψ) = Σ log π_{θ,ψ}(a|s) + Σ log P_ψ(s'|s,a)

over θ and the logits of ψ, each row's relative to its most frequent entry; what was never seen
keeps the probability 0.
"""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from sobirl.bilevel.newton import minimize_newton
from sobirl.core.errors import InvalidInputError
from sobirl.estimation.estimators import Estimator, Found, MaximumLikelihood, Task, with_law
from sobirl.estimation.law import Law, Seen
from sobirl.estimation.layout import Layout
from sobirl.estimation.likelihood import Agent, Choices, as_problem, choice_table

# Free probabilities above which two steps are the way to go.
_MOST = 200


class Logits(eqx.Module):
    """ψ as a function of free logits.

    Attributes:
        base: 0 at the fixed and the free entries, -∞ where nothing was seen (R,K), a component.
        free: rows and places of the free ones, a component.
    """

    base: tuple[Float[Array, "..."] | None, ...]
    free: tuple[tuple[Array | np.ndarray, Array | np.ndarray] | None, ...]

    @classmethod
    def of(cls, law: Law, seen: Sequence[Seen | None]) -> tuple["Logits", np.ndarray]:
        """The map and the logits of a law, of which every row is what was seen."""
        base, free, values = [], [], []
        for psi, own in zip(law.psi, seen, strict=True):
            if psi is None or own is None:
                base.append(None)
                free.append(None)
                continue
            if own.prior.any():
                raise InvalidInputError(
                    "first_stage: 'joint' has no place for smoothing; take 'murphy-topel'"
                )
            table = np.asarray(psi)
            top = table.argmax(axis=1)
            places = (table > 0) & (np.arange(table.shape[1]) != top[:, None])
            rows = np.nonzero(places)
            base.append(jnp.where(jnp.asarray(table > 0), 0.0, -jnp.inf))
            free.append(rows)
            values.append(np.log(table[rows] / table[rows[0], top[rows[0]]]))
        logits = np.concatenate(values) if values else np.zeros(0)
        if len(logits) > _MOST:
            raise InvalidInputError(
                f"first_stage: 'joint' of {len(logits)} free probabilities is more than {_MOST}; "
                "take 'murphy-topel'"
            )
        return cls(tuple(base), tuple(free)), logits

    def __call__(self, logits: Float[Array, "m"]) -> tuple[Float[Array, "..."] | None, ...]:
        """log ψ."""
        found, place = [], 0
        for base, free in zip(self.base, self.free, strict=True):
            if base is None or free is None:
                found.append(None)
                continue
            count = len(free[0])
            table = base.at[free].add(logits[place : place + count])
            place += count
            found.append(jax.nn.log_softmax(table, axis=-1))
        return tuple(found)


class JointAgent(eqx.Module):
    """`follower(x, kind)` with x = {"choice": θ, "law": logits}."""

    agent: Agent
    logits: Logits

    def __call__(self, x, kind=0):
        """The lower level."""
        log_psi = self.logits(x["law"])
        psi = tuple(None if table is None else jnp.exp(table) for table in log_psi)
        law = self.agent.law.with_psi(psi)
        return eqx.tree_at(lambda a: a.law, self.agent, law)(x["choice"], kind)


class JointChoices(eqx.Module):
    """`objective(x, response, kind)`: choices, and the transitions that all types share."""

    choices: Choices
    logits: Logits
    counts: tuple[Float[Array, "..."] | None, ...]
    kinds: int = eqx.field(static=True)

    def __call__(self, x, response, kind=0):
        """-log L of one type."""
        total = self.choices(x["choice"], response, kind)
        for table, counts in zip(self.logits(x["law"]), self.counts, strict=True):
            if table is not None and counts is not None:
                total = total - jnp.sum(counts * jnp.where(counts > 0, table, 0.0)) / self.kinds
        return total


@dataclasses.dataclass(frozen=True)
class Joint:
    """The joint estimate, θ first in the model's order.

    Attributes:
        information: (n + m, n + m).
        observation: the row of the panel of each transition that was seen (t,).
        transition_scores: ∂log ψ of each (t, n + m).
        slopes: ∂log π/∂(θ, logits) where somebody chose (C,n,A,n + m).
    """

    information: np.ndarray
    observation: Int[np.ndarray, "t"]
    transition_scores: Float[np.ndarray, "t m"]
    slopes: np.ndarray


def fit_jointly(
    task: Task, estimator: Estimator, seen: Sequence[Seen | None]
) -> tuple[Found, Joint]:
    """Maximum likelihood of θ and ψ, from the two-step estimate on.

    Raises:
        InvalidInputError: another estimator, smoothed transitions, or too many of them.
    """
    if not isinstance(estimator, MaximumLikelihood):
        raise InvalidInputError("first_stage: 'joint' goes with the estimator 'mle'")
    agent = task.agent
    logits, values = Logits.of(agent.law, seen)
    counts = tuple(None if own is None else jnp.asarray(own.counts) for own in seen)
    two_step = estimator.run(task)
    x0 = {"choice": two_step.newton.x, "law": values}
    objective = JointChoices(task.choices, logits, counts, task.kinds)
    problem = as_problem(JointAgent(agent, logits), objective, task.kinds)
    free = {"choice": task.free, "law": np.ones(len(values), bool)}
    newton = minimize_newton(problem, x0, task.tolerance, task.max_steps, free=free)

    layout = Layout.of(task.x0)
    order = np.concatenate([layout.order, len(layout.order) + np.arange(len(values))])
    slopes = np.asarray(_joint_slopes(problem, task.choices, newton.x))[..., order]
    log_psi = logits(jnp.asarray(newton.x["law"]))
    psi = tuple(None if table is None else jnp.exp(table) for table in log_psi)
    size = len(layout.order)
    own = slice(0, size)
    block = lambda table: None if table is None else table[own, own]  # noqa: E731
    inner = dataclasses.replace(
        newton,
        x=newton.x["choice"],
        gradient=newton.gradient["choice"],
        hessian=newton.hessian[own, own],
        inverse_hessian=block(newton.inverse_hessian),
        covariance=block(newton.covariance),
        standard_errors=newton.standard_errors["choice"],
    )
    base = as_problem(agent, task.choices, task.kinds)
    found = Found(with_law(base, agent.law.with_psi(psi)), inner)
    observation, scores = _transition_scores(logits, psi, seen, size)
    joint = Joint(
        information=newton.hessian[np.ix_(order, order)],
        observation=observation,
        transition_scores=scores,
        slopes=slopes,
    )
    return found, joint


@eqx.filter_jit
def _joint_slopes(problem, choices, x):
    flat, unravel = ravel_pytree(x)
    return jax.jacfwd(lambda v: choice_table(problem, choices, unravel(v))[0])(flat)


def _transition_scores(logits: Logits, psi, seen, size: int) -> tuple[np.ndarray, np.ndarray]:
    """∂log ψ/∂logits of every transition: (observation (n,), scores (n, size + m))."""
    total = sum(len(free[0]) for free in logits.free if free is not None)
    observations, scores, begin = [], [], size
    for table, free, own in zip(psi, logits.free, seen, strict=True):
        if table is None or free is None or own is None:
            continue
        rows, places = free
        part = np.zeros((len(own.row), size + total))
        for i, (row, place) in enumerate(zip(rows, places, strict=True)):
            in_row = own.row == row
            part[:, begin + i] = in_row * ((own.place == place) - float(table[row, place]))
        begin += len(rows)
        observations.append(own.observation)
        scores.append(part)
    return np.concatenate(observations), np.concatenate(scores)
