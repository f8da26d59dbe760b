"""Types that nobody sees: finite mixtures, by EM and then Newton's method.

    log L(θ, p) = Σ_i log Σ_k p_k Π_t π_{θ_k}(a_it|s_it)

EM weighs each unit's choices by the chance that it is of type k, and estimates again; near the
maximum, where EM is slow, Newton's method with the exact Hessian of log L ends it.

Sources: Heckman and Singer, Econometrica 52 (1984); Arcidiacono and Jones, Econometrica 71 (2003).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int

from sobirl.bilevel import BilevelProblem
from sobirl.bilevel.newton import NewtonResult, minimize_newton
from sobirl.core.errors import ConvergenceError, InvalidInputError
from sobirl.core.reading import listed
from sobirl.core.status import Status
from sobirl.estimation.covariance import check_cov_type, covariance
from sobirl.estimation.identification import refuse_unidentified
from sobirl.estimation.layout import Layout
from sobirl.estimation.levels import size
from sobirl.estimation.likelihood import Agent, count_choices
from sobirl.estimation.model import Data, DiscreteChoice
from sobirl.solvers import solve


class TypedResponse(eqx.Module):
    """The responses of K types, each as one of C observed ones."""

    log_policy: Float[Array, "K C ..."]
    status_code: Int[Array, ""]


class Types(eqx.Module):
    """A lower level of K agents who differ in their parameters, each of every observed type."""

    agent: Agent
    parameters: dict[str, Array]
    kinds: int = eqx.field(static=True)

    def solve(self, *, initial_value=None, throw: bool = True) -> TypedResponse:
        """Every type's policy; see `sobirl.LowerLevel`."""
        del initial_value, throw

        def one(parameters, kind):
            solution = solve(self.agent(parameters, kind), throw=False)
            status = getattr(solution, "status_code", int(Status.CONVERGED))
            return solution.log_policy, jnp.asarray(status)

        of_kinds = jax.vmap(one, in_axes=(None, 0))
        kinds = jnp.arange(self.kinds)
        log_policy, status = jax.vmap(of_kinds, in_axes=(0, None))(self.parameters, kinds)
        return TypedResponse(log_policy, jnp.max(status))


class TypedAgents(eqx.Module):
    """`follower(x)`, x = {"common": θ, "varying": θ_k (K,...), "logits": (K - 1,)}."""

    agent: Agent
    count: int = eqx.field(static=True)
    kinds: int = eqx.field(static=True, default=1)

    def __call__(self, x: Mapping[str, Any]) -> Types:
        """The lower level."""
        common = {
            name: jnp.broadcast_to(jnp.asarray(value), (self.count, *jnp.shape(value)))
            for name, value in x["common"].items()
        }
        varying = {name: jnp.asarray(value) for name, value in x["varying"].items()}
        return Types(self.agent, common | varying, self.kinds)


class Weighted(eqx.Module):
    """The M step's objective: -Σ_k Σ w_ik log π_k, with weights counted by type and place."""

    places: Int[Array, "n"]
    counts: Float[Array, "K n A"]

    def __call__(self, x, response: TypedResponse) -> Float[Array, ""]:
        """Minus the expected log-likelihood."""
        log_policy = _at(response, self.places)
        return -jnp.sum(self.counts * jnp.where(self.counts > 0, log_policy, 0.0))


class Mixture(eqx.Module):
    """The objective itself: -Σ_i log Σ_k p_k Π_t π_k; places count the observed types through."""

    places: Int[Array, "n"]
    index: Int[Array, "N"]
    action: Int[Array, "N"]
    unit: Int[Array, "N"]
    units: int = eqx.field(static=True)

    def __call__(self, x, response: TypedResponse) -> Float[Array, ""]:
        """-log L."""
        return -jnp.sum(logsumexp(self.by_unit(x, response), axis=0))

    def by_unit(self, x, response: TypedResponse) -> Float[Array, "K U"]:
        """log(p_k Π_t π_k) of every unit."""
        chosen = _at(response, self.places)[:, self.index, self.action]
        sums = jax.vmap(lambda rows: jax.ops.segment_sum(rows, self.unit, self.units))(chosen)
        return sums + log_shares(x["logits"])[:, None]


def _at(response: TypedResponse, places) -> Float[Array, "K n A"]:
    log_policy = response.log_policy
    return log_policy.reshape(len(log_policy), -1, log_policy.shape[-1])[:, places]


def log_shares(logits: Float[Array | np.ndarray, "k"]) -> Float[Array, "K"]:
    """log p, the last type's logit being 0."""
    return jax.nn.log_softmax(jnp.append(jnp.asarray(logits), 0.0))


@dataclasses.dataclass(frozen=True)
class MixtureResult:
    """An estimate with K unobserved types, in increasing order of their first parameter.

    Attributes:
        names: of the parameters: `rc[0]` is the first type's.
        values: θ̂ (n,); the logits of the shares come last.
        shares: p (K,).
        share_errors: their standard errors.
        covariance: of values.
        posterior: the chances that each unit is of each type (U,K), in the order of `units`.
        units: their names.
        log_likelihood: at the maximum.
        em_steps: before Newton's method.
        newton: its end.
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "n"]
    shares: Float[np.ndarray, "K"]
    share_errors: Float[np.ndarray, "K"]
    covariance: Float[np.ndarray, "n n"]
    posterior: Float[np.ndarray, "U K"]
    units: np.ndarray
    log_likelihood: float
    em_steps: int
    newton: NewtonResult

    @property
    def standard_errors(self) -> Float[np.ndarray, "n"]:
        """Square roots of the covariance's diagonal."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def params(self) -> dict[str, float]:
        """θ̂ by name."""
        return dict(zip(self.names, self.values.tolist(), strict=True))

    @property
    def bic(self) -> float:
        """Schwarz's criterion, by units: the smaller, the better the number of types."""
        return -2 * self.log_likelihood + np.log(len(self.units)) * len(self.values)

    def summary(self) -> str:
        """A table for people."""
        lines = [
            f"Dynamic discrete choice, {len(self.shares)} unobserved types",
            f"Log-likelihood {self.log_likelihood:.3f}, BIC {self.bic:.3f}, "
            f"{len(self.units)} units, {self.em_steps} EM steps",
            f"{'':<18}{'coef':>10}{'std err':>10}{'z':>9}{'P>|z|':>9}",
        ]
        rows = zip(self.names, self.values, self.standard_errors, strict=True)
        for name, value, error in rows:
            p = 2 * scipy.special.ndtr(-abs(value / error))
            lines.append(f"{name:<18}{value:>10.4f}{error:>10.4f}{value / error:>9.3f}{p:>9.3f}")
        for k, (share, error) in enumerate(zip(self.shares, self.share_errors, strict=True)):
            lines.append(f"{f'share of type {k}':<18}{share:>10.4f}{error:>10.4f}")
        return "\n".join(lines)


def fit_mixture(
    model: DiscreteChoice,
    data: Any,
    *,
    types: int = 2,
    varying: Sequence[str] | None = None,
    cov_type: str = "hessian",
    starts: int = 3,
    seed: int = 0,
    tolerance: float = 1e-6,
    **columns: Any,
) -> MixtureResult:
    """Estimate a model whose units are of K types that the data do not say.

    Args:
        model: as for one type.
        data: see `fit`.
        types: K, 2 or 3 as a rule.
        varying: the parameters in which types differ; all by default.
        cov_type: "hessian", "opg" or "sandwich", of the units' likelihoods. Transitions are taken
            as known.
        starts: how often EM starts, from the estimate with one type spread at random; the best
            end counts.
        seed: of the starts.
        tolerance: of Newton's gradient.
        columns: see `DiscreteChoice.read`.

    Raises:
        InvalidInputError: bad arguments or data, or fewer types than asked for.
        ConvergenceError: no start reached a maximum.
    """
    from sobirl.estimation.fitting import fit

    if types < 2:
        raise InvalidInputError(f"types: must be at least 2, got {types}")
    if starts < 1:
        raise InvalidInputError(f"starts: must be at least 1, got {starts}")
    check_cov_type(cov_type)
    read = data if isinstance(data, Data) else model.read(data, **columns)
    alone = fit(model, read, first_stage="fixed", tolerance=tolerance)
    names = list(alone.layout.shapes)
    varying = names if varying is None else list(varying)
    for name in varying:
        if name not in names:
            raise InvalidInputError(f"varying: {name!r} is no parameter; there are {listed(names)}")
    if not varying:
        raise InvalidInputError("varying: expected at least one parameter")
    panel = read.panel
    places_of_kind = size(read.spaces) * (model.horizon or 1)
    choices, index = count_choices(
        np.zeros_like(panel.kind),
        panel.kind * places_of_kind + read.place,
        panel.action,
        1,
        len(model.action_levels.labels),
    )
    places = choices.places[0]
    objective = Mixture(
        places, jnp.asarray(index), jnp.asarray(panel.action), jnp.asarray(panel.unit),
        panel.num_units,
    )  # fmt: skip
    follower = TypedAgents(alone.task.agent, types, read.num_kinds)
    problem = BilevelProblem(follower, objective)
    rng = np.random.default_rng(seed)
    best = None
    for start in range(starts):
        x = _spread(alone, varying, types, None if start == 0 else rng)
        try:
            x, steps = _em(follower, objective, places, np.shape(choices.counts)[1:], x)
            newton = minimize_newton(problem, x, tolerance)
        except ConvergenceError:
            continue
        if best is None or newton.objective < best[0].objective - 1e-9:
            best = newton, steps
    if best is None:
        raise ConvergenceError("types: no start of EM came to an end; ask for fewer types")
    newton, steps = best
    return _result(problem, objective, newton, steps, panel, cov_type)


def _spread(alone, varying: list[str], types: int, rng) -> dict[str, Any]:
    """First values: the estimate with one type, times factors around 1 for each."""
    found = {"common": {}, "varying": {}, "logits": np.zeros(types - 1)}
    for name, value in alone.x.items():
        if name not in varying:
            found["common"][name] = np.asarray(value)
            continue
        factors = np.linspace(0.6, 1.4, types)
        if rng is not None:
            factors = rng.uniform(0.3, 1.7, types)
        shape = (types,) + (1,) * np.ndim(value)
        found["varying"][name] = factors.reshape(shape) * np.asarray(value)
    return found


@eqx.filter_jit
def _by_unit(follower, objective, x):
    return objective.by_unit(x, follower(x).solve())


def _em(follower, objective: Mixture, places, shape, x, most: int = 200):
    """EM until a step gains little, and how many it took."""
    before = -np.inf
    fields = objective.action, objective.index, objective.unit
    action, index, unit = (np.asarray(field) for field in fields)
    for step in range(1, most + 1):
        table = np.asarray(_by_unit(follower, objective, x))
        total = scipy.special.logsumexp(table, axis=0)
        now = float(total.sum())
        if not np.isfinite(now):
            raise ConvergenceError("EM left the range of numbers")
        if now - before < 1e-6 * (1 + abs(now)):  # from here Newton's method is quicker
            return x, step
        before = now
        posterior = np.exp(table - total)
        counts = np.zeros((len(table), *shape))
        for k, own in enumerate(posterior):
            np.add.at(counts[k], (index, action), own[unit])
        choice = {"common": x["common"], "varying": x["varying"]}
        problem = BilevelProblem(follower, Weighted(places, jnp.asarray(counts)))
        end = minimize_newton(problem, choice, 1e-3, 30).x
        shares = posterior.mean(axis=1)
        logits = np.log(np.maximum(shares[:-1], 1e-12) / np.maximum(shares[-1], 1e-12))
        x = {**end, "logits": logits}
    return x, most


def _result(problem, objective, newton, steps, panel, cov_type) -> MixtureResult:
    x = _in_order(newton.x)
    slopes, by_unit = (np.asarray(a) for a in _unit_scores(problem.follower, objective, x))
    labels, order = _labels(x)
    # Where it starts at the minimum, this is the Hessian there, in the types' new order.
    hessian = minimize_newton(problem, x, 1.0, 1).hessian
    information = hessian[np.ix_(order, order)]
    layout = Layout(labels, order, {})
    refuse_unidentified(information, np.ones(len(order), bool), layout)
    spread = covariance(information, slopes[:, order], None, np.arange(len(slopes)), cov_type)
    values = np.asarray(jax.flatten_util.ravel_pytree(x)[0])[order]
    total = scipy.special.logsumexp(by_unit, axis=0)
    count = len(by_unit)
    of_logits = jax.jacfwd(lambda v: jnp.exp(log_shares(v)))(jnp.asarray(x["logits"]))
    block = spread[-(count - 1) :, -(count - 1) :]
    errors = np.sqrt(np.einsum("ki,ij,kj->k", of_logits, block, of_logits))
    return MixtureResult(
        names=labels,
        values=values,
        shares=np.exp(np.asarray(log_shares(x["logits"]))),
        share_errors=errors,
        covariance=spread,
        posterior=np.exp(by_unit - total).T,
        units=panel.unit_names,
        log_likelihood=float(total.sum()),
        em_steps=steps,
        newton=newton,
    )


def _in_order(x: dict) -> dict:
    """The same with the types in increasing order of their first varying number."""
    first = np.asarray(next(iter(x["varying"].values())))
    order = np.argsort(first.reshape(len(first), -1)[:, 0])
    logits = np.append(np.asarray(x["logits"]), 0.0)[order]
    return {
        "common": {name: np.asarray(v) for name, v in x["common"].items()},
        "varying": {name: np.asarray(v)[order] for name, v in x["varying"].items()},
        "logits": logits[:-1] - logits[-1],
    }


def _labels(x: dict) -> tuple[tuple[str, ...], np.ndarray]:
    """Names, and their places in JAX's vector of x: common, logits, varying."""
    common, varying = Layout.of(x["common"]), Layout.of(x["varying"])
    logits = len(x["logits"])
    labels = [*varying.labels, *common.labels, *(f"logit of share {k}" for k in range(logits))]
    begin = len(common.order)
    order = [begin + logits + varying.order, common.order, begin + np.arange(logits)]
    return tuple(labels), np.concatenate(order).astype(int)


@eqx.filter_jit
def _unit_scores(follower, objective, x):
    flat, unravel = jax.flatten_util.ravel_pytree(jax.tree.map(jnp.asarray, x))

    def of(flat):
        x = unravel(flat)
        by_unit = objective.by_unit(x, follower(x).solve())
        return logsumexp(by_unit, axis=0), by_unit

    return jax.jacfwd(of, has_aux=True)(flat)
