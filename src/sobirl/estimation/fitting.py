"""From a table to an estimate."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobirl.core.errors import ConvergenceError, InvalidInputError
from sobirl.core.status import Status
from sobirl.estimation.covariance import FIRST_STAGES, check_cov_type, first_stage_part
from sobirl.estimation.estimators import (
    Estimator,
    Found,
    Task,
    agent_of,
    as_estimator,
    with_law,
)
from sobirl.estimation.identification import refuse_separation, refuse_unidentified
from sobirl.estimation.joint import fit_jointly
from sobirl.estimation.layout import Layout, as_parameters
from sobirl.estimation.likelihood import choice_table, count_choices
from sobirl.estimation.model import Data, DiscreteChoice
from sobirl.estimation.result import ChoiceResult, Evidence

if TYPE_CHECKING:
    from sobirl.bilevel import BilevelProblem
    from sobirl.estimation.law import Law


def fit(
    model: DiscreteChoice,
    data: Any,
    *,
    estimator: Estimator | str = "mle",
    cov_type: str = "hessian",
    first_stage: str | None = None,
    start: Mapping[str, Any] | None = None,
    fixed: Mapping[str, Any] | None = None,
    tolerance: float = 1e-6,
    max_steps: int = 100,
    **columns: Any,
) -> ChoiceResult:
    """Estimate the parameters of a model from a panel.

    Args:
        model: what is to be estimated.
        data: a pandas or polars frame, a mapping from columns to arrays, a CSV file, or what
            `model.read` made of one.
        estimator: "mle", "ccp", "npl", or an `Estimator`.
        cov_type: "hessian", "opg", "sandwich" or "cluster" (by unit).
        first_stage: how the error of estimated transitions counts: "murphy-topel" (the default
            where they are estimated), "fixed" for not at all, or "joint" for parameters and
            transitions estimated in one likelihood.
        start: first values, by name; the others are the model's.
        fixed: parameters that keep a value.
        tolerance: norm of the gradient of -log L at which Newton's method stops.
        max_steps: of Newton's method.
        columns: `unit`, `period`, `state`, `action`, `gaps`, `first_period`: see
            `DiscreteChoice.read`.

    Raises:
        InvalidInputError: bad data or arguments, or data that do not identify the parameters: one
            sentence with the row or the reason.
        ConvergenceError: Newton's method did not reach the tolerance.
    """
    clock = time.perf_counter()
    chosen = as_estimator(estimator)
    check_cov_type(cov_type)
    if first_stage not in (None, *FIRST_STAGES):
        raise InvalidInputError(
            f"first_stage: expected one of {', '.join(FIRST_STAGES)}, got {first_stage!r}"
        )
    read = data if isinstance(data, Data) else model.read(data, **columns)
    if isinstance(data, Data) and columns:
        raise InvalidInputError(f"{next(iter(columns))}: these data are read already")
    agent = model.agent(read.law, read.spaces, read.kinds)
    choices, index = count_choices(
        read.panel.kind,
        read.place,
        read.panel.action,
        read.num_kinds,
        len(model.action_levels.labels),
    )
    first = model.first_values(read.spaces, read.kinds)
    x0 = as_parameters({**first, **dict(start or {}), **dict(fixed or {})}, first)
    free = {
        name: jnp.full(jnp.shape(value), name not in (fixed or {})) for name, value in x0.items()
    }
    task = Task(agent, choices, read.num_kinds, x0, free, tolerance, max_steps)
    estimated = any(seen is not None for seen in read.seen)
    if first_stage is None:
        first_stage = "murphy-topel" if estimated else "fixed"
    if not estimated:
        first_stage = "fixed"
    joint = None
    if first_stage == "joint":
        found, joint = fit_jointly(task, chosen, read.seen)
    else:
        found = chosen.run(task)
    layout = Layout.of(x0)
    newton = found.newton
    evidence = gather_evidence(found, read, index, layout, first_stage == "murphy-topel")
    moving = layout.vector(free).astype(bool)
    refuse_separation(evidence, moving, read, layout)
    refuse_unidentified(evidence.information, moving, layout)
    if not newton.converged and newton.hypergradient_norm > 1e3 * tolerance:
        raise ConvergenceError(f"fit: {newton.message}")
    return ChoiceResult(
        model=model,
        data=read,
        task=task,
        estimator=chosen,
        found=found,
        layout=layout,
        moving=moving,
        evidence=evidence,
        index=index,
        cov_type=cov_type,
        first_stage=first_stage,
        joint=joint,
        seconds=time.perf_counter() - clock,
    )


def gather_evidence(
    found: Found, read: Data, index: np.ndarray, layout: Layout, two_step: bool
) -> Evidence:
    """Scores, information and what the first stage adds, all in the model's order."""
    problem, x = found.problem, found.newton.x
    choices = problem.objective
    table, slopes, status = table_and_slopes(problem, choices, layout, x)
    if Status(int(status)) is not Status.CONVERGED:
        raise ConvergenceError(Status(int(status)).advice)
    panel = read.panel
    cell = panel.kind, index, panel.action
    information = found.newton.hessian[np.ix_(layout.order, layout.order)]
    first = None
    if two_step:
        law = agent_of(problem.follower).law
        crosses = cross_derivatives(problem, law, layout, x)
        parts = [
            first_stage_part(np.asarray(cross), np.asarray(psi), seen, len(panel))
            for cross, psi, seen in zip(crosses, law.psi, read.seen, strict=True)
            if seen is not None
        ]
        first = sum(parts[1:], start=parts[0])
    return Evidence(
        information=information,
        scores=np.asarray(slopes)[cell],
        first=first,
        log_probability=np.asarray(table)[cell],
        table=np.asarray(table),
        slopes=np.asarray(slopes),
    )


@eqx.filter_jit
def _table_and_slopes(problem, choices, unflatten, x):
    def of_vector(vector):
        table, status = choice_table(problem, choices, unflatten(vector))
        return table, (table, status)

    slopes, (table, status) = jax.jacfwd(of_vector, has_aux=True)(x)
    return table, slopes, status


def table_and_slopes(
    problem: "BilevelProblem", choices: Any, layout: Layout, x: Mapping[str, Any]
) -> tuple[Float[Array, "C n A"], Float[Array, "C n A k"], Array]:
    """log π where somebody chose, its derivatives, and how the followers were solved."""
    vector = jnp.asarray(layout.vector(x))
    return _table_and_slopes(problem, choices, Unflatten.of(layout), vector)


class Unflatten(eqx.Module):
    """A vector in the model's order as parameters; equal layouts share compiled programs."""

    shapes: tuple = eqx.field(static=True)

    @classmethod
    def of(cls, layout: Layout) -> "Unflatten":
        """That of a layout."""
        return cls(tuple(layout.shapes.items()))

    def __call__(self, vector: Float[Array, "n"]) -> dict[str, Array]:
        """The parameters."""
        found, place = {}, 0
        for name, shape in self.shapes:
            count = int(np.prod(shape, dtype=int))
            found[name] = vector[place : place + count].reshape(shape)
            place += count
        return found


@eqx.filter_jit
def _cross_derivatives(problem, law, unflatten, vector):
    fitted = [psi for psi in law.psi if psi is not None]

    def gradient(fitted):
        rest = iter(fitted)
        psi = tuple(None if own is None else next(rest) for own in law.psi)
        moved = with_law(problem, law.with_psi(psi))
        return jax.grad(lambda v: moved.value(unflatten(v), throw=False))(vector)

    return jax.jacrev(gradient)(fitted)


def cross_derivatives(
    problem: "BilevelProblem", law: "Law", layout: Layout, x: Mapping[str, Any]
) -> list[Float[np.ndarray, "..."] | None]:
    """∂²(-log L)/∂θ∂ψ of every component."""
    vector = jnp.asarray(layout.vector(x))
    found = iter(_cross_derivatives(problem, law, Unflatten.of(layout), vector))
    return [None if psi is None else np.asarray(next(found)) for psi in law.psi]
