"""What agents would do if their utilities, discount or transitions were others."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobirl.core.errors import ConvergenceError, InvalidInputError
from sobirl.core.reading import listed, suggestion
from sobirl.core.status import Status
from sobirl.estimation.estimators import agent_of
from sobirl.estimation.given import given_law, laws_of_types, of_types
from sobirl.estimation.law import Law
from sobirl.estimation.likelihood import Agent
from sobirl.mdp import TransitionOperator
from sobirl.solvers import solve

if TYPE_CHECKING:
    from sobirl.estimation.result import ChoiceResult

# States above which the stationary distribution comes from GMRES instead of a matrix.
_DENSE = 2_500


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A number or table that follows from the estimate, with errors by the delta method.

    Attributes:
        value: at θ̂.
        slopes: ∂value/∂θ, the parameters last.
        covariance: of θ̂.
    """

    value: Float[np.ndarray, "..."]
    slopes: Float[np.ndarray, "... n"]
    covariance: Float[np.ndarray, "n n"]

    @property
    def standard_error(self) -> Float[np.ndarray, "..."]:
        """The square root of its variance, slopes · covariance · slopes."""
        spread = np.einsum("...i,ij,...j->...", self.slopes, self.covariance, self.slopes)
        return np.asarray(np.sqrt(np.maximum(spread, 0.0)))

    def __sub__(self, other: "Quantity") -> "Quantity":
        value = np.asarray(self.value - other.value)
        return Quantity(value, self.slopes - other.slopes, self.covariance)

    def __getitem__(self, place: Any) -> "Quantity":
        return Quantity(
            np.asarray(self.value[place]), np.asarray(self.slopes[place]), self.covariance
        )

    def __float__(self) -> float:
        return float(self.value)

    def __str__(self) -> str:
        if np.ndim(self.value):
            return f"{self.value} ({self.standard_error})"
        return f"{float(self.value):.6g} ({float(self.standard_error):.3g})"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What agents do under some parameters; a leading axis of types where there are several.

    Attributes:
        policy: π ([C,][T,]S,A).
        value: V ([C,][T,]S), expected discounted utility, shocks included, in the utility's unit.
        distribution: of the states ([C,]S): the stationary one; ([C,]T,S) of each period, from the
            first one's, where the horizon ends.
        shares: how often each action is chosen in the long run (A,), in each period (T,A).
        welfare: mean of V over the observed states, or those of the first period; types weighted
            by their units.
    """

    policy: Quantity
    value: Quantity
    distribution: Quantity
    shares: Quantity
    welfare: Quantity


@dataclasses.dataclass(frozen=True)
class Counterfactual(Outcome):
    """The outcome under changed conditions, beside the one at the estimate.

    Attributes:
        baseline: at the estimate.
        parameters: those that were used, by name.
    """

    baseline: Outcome
    parameters: dict[str, Any]

    @property
    def change(self) -> Outcome:
        """The differences to the baseline; the errors know that both depend on one θ̂."""
        names = [field.name for field in dataclasses.fields(Outcome)]
        return Outcome(*(getattr(self, name) - getattr(self.baseline, name) for name in names))


class Changes(eqx.Module):
    """Parameters as a function of those that were estimated."""

    numbers: dict[str, Array]
    functions: dict[str, Callable]

    def __call__(self, x: Mapping[str, Array]) -> dict[str, Array]:
        """The changed parameters."""
        changed = {
            name: jnp.broadcast_to(jnp.asarray(function(x)), jnp.shape(x[name]))
            for name, function in self.functions.items()
        }
        return {**x, **self.numbers, **changed}


def counterfactual(
    result: "ChoiceResult",
    *,
    transitions: Any = None,
    discount: float | None = None,
    initial: Any = None,
    **parameters: Any,
) -> Counterfactual:
    """Policy, distribution, shares and welfare under other conditions, with errors.

    Args:
        result: the estimate.
        transitions: another law, an operator or a table (S,A,S); for all types.
        discount: another γ.
        initial: the distribution of states (S,) for welfare; by default the observed one (of the
            first period, where the horizon ends).
        parameters: by name, a number that is known for certain, or a function of the estimated
            parameters (a mapping), through which their error goes on: `rc=lambda p: 0.7 *
            p["rc"]`.

    Raises:
        InvalidInputError: an unknown parameter, or something out of range.
        ConvergenceError: the agent's problem could not be solved there.
    """
    changes = _changes(result, parameters)
    agent = agent_of(result.found.problem.follower)
    if discount is not None:
        most = 1.0 if agent.horizon else np.nextafter(1.0, 0)
        if not 0 <= discount <= most:
            raise InvalidInputError(f"discount: must lie in [0, 1), got {discount}")
        agent = eqx.tree_at(lambda a: a.discount, agent, jnp.asarray(float(discount)))
    if transitions is not None:
        agent = eqx.tree_at(
            lambda a: a.law, agent, _as_law(transitions, agent.law, result.data.num_kinds)
        )
    start = _initial(result, initial)
    baseline = outcome(result, agent_of(result.found.problem.follower), Changes({}, {}), start)
    changed = outcome(result, agent, changes, start)
    x = {name: jnp.asarray(value) for name, value in result.x.items()}
    return Counterfactual(
        **{f.name: getattr(changed, f.name) for f in dataclasses.fields(Outcome)},
        baseline=baseline,
        parameters={name: np.asarray(value) for name, value in changes(x).items()},
    )


def demand(
    result: "ChoiceResult", parameter: str, values: Any, action: Any
) -> tuple[Float[np.ndarray, "m"], Quantity]:
    """How often an action is chosen in the long run, as a function of a parameter.

    Args:
        result: the estimate.
        parameter: which one moves; a single number.
        values: where (m,).
        action: its label.

    Returns:
        the values, and the shares (m,).
    """
    labels = result.model.action_levels.labels
    if action not in labels:
        raise InvalidInputError(f"action: {action!r} is none; actions are {listed(_text(labels))}")
    if result.model.horizon is not None:
        raise InvalidInputError("demand: needs a horizon that does not end")
    points = np.atleast_1d(np.asarray(values, np.float64))
    agent, start = agent_of(result.found.problem.follower), _initial(result, None)
    found = [
        outcome(result, agent, _changes(result, {parameter: point}), start).shares[
            labels.index(action)
        ]
        for point in points
    ]
    return points, Quantity(
        np.stack([q.value for q in found]), np.stack([q.slopes for q in found]), result.covariance
    )


def outcome(
    result: "ChoiceResult", agent: Agent, changes: Changes, start: Float[np.ndarray, "C S"]
) -> Outcome:
    """The outcome at changed parameters."""
    from sobirl.estimation.fitting import Unflatten

    kinds = result.data.num_kinds
    first = np.unique(result.data.panel.unit, return_index=True)[1]
    weights = np.bincount(result.data.panel.kind[first], minlength=kinds) / len(first)
    slopes, (values, status) = _outcome_and_slopes(
        agent,
        changes,
        Unflatten.of(result.layout),
        jnp.asarray(result.values),
        jnp.asarray(start),
        jnp.asarray(weights),
    )
    if Status(int(status)) is not Status.CONVERGED:
        raise ConvergenceError(f"counterfactual: {Status(int(status)).advice}")
    found = {}
    for name, value in values.items():
        value, slope = np.asarray(value), np.asarray(slopes[name])
        if kinds == 1 and name in ("policy", "value", "distribution"):
            value, slope = value[0], slope[0]
        found[name] = Quantity(value, slope, result.covariance)
    if not np.isfinite(found["distribution"].value).all():
        raise ConvergenceError("counterfactual: there is no single stationary distribution")
    return Outcome(**found)


@eqx.filter_jit
def _outcome_and_slopes(agent, changes, unflatten, vector, start, weights):
    def compute(vector):
        x = changes(unflatten(vector))

        def one(kind, start):
            problem = agent(x, kind)
            solution = solve(problem, throw=False)
            status = jnp.asarray(getattr(solution, "status_code", int(Status.CONVERGED)))
            law, policy = agent.law(kind), jnp.exp(solution.log_policy)
            if agent.horizon is None:
                distribution = stationary(law, policy)
                shares = distribution @ policy
                welfare = start @ solution.value
            else:
                distribution = _path(law, policy, start)
                shares = jnp.einsum("ts,tsa->ta", distribution, policy)
                welfare = start @ solution.value[0]
            return (policy, solution.value, distribution), (shares, welfare), status

        kinds = jnp.arange(len(weights))
        if len(weights) == 1:
            own, mean, status = jax.tree.map(lambda leaf: leaf[None], one(0, start[0]))
        else:
            own, mean, status = jax.vmap(one)(kinds, start)
        shares, welfare = (jnp.tensordot(weights, leaf, axes=1) for leaf in mean)
        names = ("policy", "value", "distribution", "shares", "welfare")
        values = dict(zip(names, (*own, shares, welfare), strict=True))
        return values, (values, jnp.max(status))

    return jax.jacfwd(compute, has_aux=True)(vector)


def stationary(law: TransitionOperator, policy: Float[Array, "S A"]) -> Float[Array, "S"]:
    """The stationary distribution d of the states under a policy, differentiable.

    d = P_πᵀ d with Σ d = 1 is the solution of (I - P_πᵀ + u 1ᵀ) d = u, u the uniform distribution,
    a system that is regular if there is one recurrent class. NaN where its residual is large.
    """
    states = law.shape[0]
    uniform = jnp.full(states, 1 / states)

    def forward(d):
        return d - law.push(d[:, None] * policy) + uniform * jnp.sum(d)

    if states <= _DENSE:
        matrix = jnp.eye(states) - law.matrix(policy).T + uniform[:, None]
        found = jnp.linalg.solve(matrix, uniform)
    else:
        run = lambda mv, b: jax.scipy.sparse.linalg.gmres(  # noqa: E731
            mv, b, tol=1e-11, restart=40, maxiter=50, solve_method="batched"
        )[0]
        found = jax.lax.custom_linear_solve(forward, uniform, solve=run, transpose_solve=run)
    error = jnp.max(jnp.abs(jax.lax.stop_gradient(forward(found) - uniform)))
    return jnp.where(error < 1e-8, found, jnp.nan)


def _path(law, policy, start):
    """The states' distribution in every period (T,S)."""

    def ahead(d, policy):
        return law.push(d[:, None] * policy), d

    return jax.lax.scan(ahead, start, policy)[1]


def _changes(result: "ChoiceResult", parameters: Mapping[str, Any]) -> Changes:
    numbers, functions = {}, {}
    shapes = result.layout.shapes
    for name, value in parameters.items():
        if name not in shapes:
            raise InvalidInputError(
                f"{name}: is no parameter{suggestion(name, shapes)}; there are "
                f"{listed(list(shapes))}"
            )
        if callable(value):
            functions[name] = value
            continue
        array = np.asarray(value, np.float64)
        if array.shape != shapes[name] or not np.isfinite(array).all():
            raise InvalidInputError(
                f"{name}: expected a finite number or shape {shapes[name]}, got {value!r}"
            )
        numbers[name] = jnp.asarray(array)
    return Changes(numbers, functions)


def _text(labels) -> list[str]:
    return [str(label) for label in labels]


def _as_law(transitions: Any, own: Law, kinds: int) -> Law:
    states, actions = own(0).shape
    laws = laws_of_types(transitions)
    parts = [
        given_law("transitions", law, states, actions, shared=False)
        for law in ([transitions] if laws is None else laws)
    ]
    component, _, table = parts[0]
    if laws is not None:
        component, _, table = of_types("transitions", [(c, t) for c, _, t in parts], kinds)
    return Law((component,), tuple((a,) for a in table))


def _initial(result: "ChoiceResult", initial: Any) -> Float[np.ndarray, "C S"]:
    """The distribution of states that welfare is about, of each type."""
    panel, kinds = result.data.panel, result.data.num_kinds
    states = int(np.prod([len(space.values) for space in result.data.spaces.values()]))
    if initial is not None:
        start = np.asarray(initial, np.float64)
        if start.shape != (states,) or (start < 0).any() or abs(start.sum() - 1) > 1e-5:
            raise InvalidInputError(f"initial: expected probabilities of {states} states")
        return np.tile(start, (kinds, 1))
    rows = np.arange(len(panel))
    if result.model.horizon is not None:
        rows = rows[result.data.place < states]
    counts = np.zeros((kinds, states))
    np.add.at(counts, (panel.kind[rows], panel.state[rows]), 1.0)
    totals = counts.sum(axis=1, keepdims=True)
    return np.where(totals > 0, counts / np.maximum(totals, 1), 1 / states)
