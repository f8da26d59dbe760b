"""Dynamic discrete choice: what agents want, from what they choose."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from sobirl.core.checks import as_float_array
from sobirl.core.errors import InvalidInputError
from sobirl.core.reading import listed
from sobirl.estimation.data import Panel, as_panel, check_choices, read_columns, resolve
from sobirl.estimation.first_stage import Transitions, first_stage
from sobirl.estimation.frequencies import Frequencies
from sobirl.estimation.given import laws_of_types
from sobirl.estimation.increments import Increments
from sobirl.estimation.law import Law, Seen
from sobirl.estimation.levels import (
    Levels,
    Quantiles,
    Space,
    as_space,
    as_spaces,
    refuse_first,
    size,
    sizes,
)
from sobirl.estimation.likelihood import Agent, CostUtility, LinearUtility
from sobirl.estimation.simulation import simulate
from sobirl.estimation.utilities import availability, check_actions, utility_of

# A column that has no name, of a model of one state.
STATE = "state"


@dataclasses.dataclass(frozen=True)
class Data:
    """What a model reads from a table.

    Attributes:
        panel: the decisions.
        spaces: column -> levels, of the state.
        kinds: column -> levels, of the units' types.
        place: the period and state of each decision as one number (N,).
        law: the transitions.
        seen: what they were estimated from, None where they are given.
    """

    panel: Panel
    spaces: dict[str, Space]
    kinds: dict[str, Space]
    place: np.ndarray
    law: Law
    seen: tuple[Seen | None, ...]

    @property
    def num_kinds(self) -> int:
        """C."""
        return size(self.kinds)


@dataclasses.dataclass(frozen=True)
class DiscreteChoice:
    """A dynamic discrete-choice model: utilities with unknown parameters, states that move.

    In every period an agent in state s sees shocks ε(a) of its own, of an extreme-value
    distribution with mean 0 and the scale τ, and chooses the action with the highest

        u_θ(s,a) + ε(a) + γ E[V(s') | s,a]

    so that its choices have the probabilities of the optimal policy of a soft MDP,
    π(a|s) = exp((Q(s,a) - V(s))/τ). θ is estimated from a panel of choices.

    Args:
        states: a number of states, their levels, or `Bins`; or a mapping from the columns of the
            data to these, whose product is the state, the last column fastest.
        actions: their labels, or how many there are.
        features: parameter -> what it multiplies: a mapping from actions to a number or a
            function of the columns (0 for actions that are left out), or a table (S,A), (S,A,k)
            for k parameters of one name.
        discount: γ in [0, 1); up to 1 with a horizon.
        scale: τ, the unit of utilities.
        transitions: `Increments`, `Frequencies`, a mapping from columns to these where the columns
            move independently, or a law that is known: an operator or a table (S,A,S), or a list of
            known laws, one for every type.
        cost: instead of features any JAX function (parameters, *columns) -> (S,A), the utility's
            negative.
        parameters: the first values of θ, by name; for a cost they say which there are.
        types: columns of what never changes for a unit and is seen; each combination is a type
            with utilities (functions get these columns last) and transitions of its own.
        horizon: the number of periods T; None for ever. Functions that have an argument `period`
            get the periods 0, ..., T - 1 as (T,1), and give (T,S).
        available: which actions there are (S,A), or a mapping from actions to functions of the
            columns; all by default.

    Raises:
        InvalidInputError: an argument is none of this, with its name.

    Source: Rust, Optimal Replacement of GMC Bus Engines, Econometrica 55 (1987); Aguirregabiria
    and Mira, Dynamic discrete choice structural models, Journal of Econometrics 156 (2010).
    """

    states: Any
    actions: Any
    features: Mapping[str, Any] | None = None
    discount: float | int = 0.95
    scale: float | int = 1.0
    transitions: Any = dataclasses.field(default_factory=Frequencies)
    cost: Callable[..., Any] | None = None
    parameters: Mapping[str, Any] | None = None
    types: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    horizon: int | None = None
    available: Any = None

    def __post_init__(self):
        if (self.features is None) == (self.cost is None):
            raise InvalidInputError("features, cost: give one of the two")
        if self.features is not None and not (
            isinstance(self.features, Mapping) and len(self.features)
        ):
            raise InvalidInputError(
                f"features: expected parameter -> features, got {type(self.features).__name__}"
            )
        if self.cost is not None:
            if not callable(self.cost):
                raise InvalidInputError(
                    f"cost: expected a function, got {type(self.cost).__name__}"
                )
            if not self.parameters:
                raise InvalidInputError("parameters: a cost needs their first values, by name")
        if self.horizon is not None and (
            not isinstance(self.horizon, (int, np.integer)) or self.horizon < 1
        ):
            raise InvalidInputError(
                f"horizon: must be a whole number from 1, or None, got {self.horizon!r}"
            )
        most = "1]" if self.horizon else "1)"
        if not (0 <= self.discount < 1 or (self.horizon and self.discount == 1)):
            raise InvalidInputError(f"discount: must lie in [0, {most}, got {self.discount}")
        if not (0 < self.scale < np.inf):
            raise InvalidInputError(f"scale: must be positive, got {self.scale}")
        _ = self._spaces, self._kinds
        if len(self.action_levels.labels) < 2:
            raise InvalidInputError("actions: expected at least two")
        if self.features is not None:
            unknown = set(self.parameters or ()) - set(self.features)
            if unknown:
                raise InvalidInputError(
                    f"parameters: no features have the name {listed(sorted(map(str, unknown)))}"
                )
            for name, spec in self.features.items():
                if isinstance(spec, Mapping):
                    check_actions(f"features[{name!r}]", spec, self.action_levels)
        elif self.cost is not None:
            for name, value in (self.parameters or {}).items():
                as_float_array(f"parameters[{name!r}]", value)

    @functools.cached_property
    def action_levels(self) -> Levels:
        """The actions' labels."""
        found = as_space("actions", self.actions)
        if not isinstance(found, Levels):
            raise InvalidInputError("actions: expected their labels, or how many there are")
        return found

    @functools.cached_property
    def _spaces(self) -> dict[str, Space | Quantiles]:
        return as_spaces("states", self.states, STATE)

    @functools.cached_property
    def _kinds(self) -> dict[str, Space | Quantiles]:
        return as_spaces("types", self.types, None) if self.types else {}

    def read(
        self,
        data: Any,
        *,
        unit: str = "unit",
        period: str = "period",
        state: str = "state",
        action: str = "action",
        gaps: str = "error",
        first_period: int | None = None,
    ) -> Data:
        """The panel of a table, checked, with the first stage's estimates.

        Args:
            data: a pandas or polars frame, a mapping from columns to arrays, or a CSV file.
            unit: the name of the column that says whose row it is.
            period: that of the periods, whole numbers.
            action: that of what was chosen.
            state: the name of the state's column, where `states` does not name it.
            gaps: what to do where a unit lacks periods: "error", or "split".
            first_period: rows of earlier periods are left out, and a finite horizon begins with
                it; by default the first one of the data.

        Raises:
            InvalidInputError: bad data: one sentence with the row.
        """
        name = {column: state if column == STATE else column for column in self._spaces}
        extra = [
            column
            for spec in self._every_transition()
            if isinstance(spec, Transitions)
            for column in spec.columns()
        ]
        table = read_columns(data, [unit, period, action, *name.values(), *self._kinds, *extra])
        if first_period is not None:
            table = table.from_period(period, first_period)
        spaces = resolve(
            {name[c]: s for c, s in self._spaces.items()}, table, {v: v for v in name.values()}
        )
        kinds = resolve(self._kinds, table, {c: c for c in self._kinds})
        panel = as_panel(
            table,
            unit=unit,
            period=period,
            action=action,
            states=spaces,
            kinds=kinds,
            actions=self.action_levels,
            extra=extra,
            gaps=gaps,
        )
        check_choices(panel, self.action_levels)
        place = panel.state
        if self.horizon is not None:
            begin = panel.period.min() if first_period is None else first_period
            since = panel.period - begin
            refuse_first(
                since >= self.horizon,
                lambda i: (
                    f"{panel.where(i)}, column {period}: {panel.period[i]} is outside the "
                    f"horizon, {begin} to {begin + self.horizon - 1}"
                ),
            )
            place = since * size(spaces) + panel.state
        weights = availability(self.available, spaces, self.action_levels)
        if weights is not None:
            labels = self.action_levels.labels
            refuse_first(
                weights[panel.state, panel.action] == 0,
                lambda i: (
                    f"{panel.where(i)}, column {action}: {labels[panel.action[i]]!r} was "
                    "chosen where it is not available"
                ),
            )
        law, seen = first_stage(
            self._transitions_named(name),
            panel,
            list(spaces),
            sizes(spaces),
            size(kinds),
            self.action_levels,
        )
        return Data(panel, spaces, kinds, place, law, seen)

    def _every_transition(self) -> list[Any]:
        """The laws of all columns and types."""
        mapping = isinstance(self.transitions, Mapping)
        specs = list(self.transitions.values()) if mapping else [self.transitions]
        return [own for spec in specs for own in laws_of_types(spec) or [spec]]

    def _transitions_named(self, name: Mapping[str, str]) -> Any:
        if not isinstance(self.transitions, Mapping):
            return self.transitions
        return {name.get(column, column): spec for column, spec in self.transitions.items()}

    def agent(self, law: Law, spaces: dict[str, Space], kinds: dict[str, Space]) -> Agent:
        """The follower: parameters, type -> the agent's problem."""
        return Agent(
            utility=self._utility(spaces, kinds),
            law=law,
            discount=jnp.asarray(float(self.discount)),
            scale=jnp.asarray(float(self.scale)),
            available=availability(self.available, spaces, self.action_levels),
            horizon=self.horizon,
        )

    def known(self, state: str = STATE) -> tuple[Agent, dict[str, Space], dict[str, Space]]:
        """The follower and the levels, of a model whose transitions are given.

        Raises:
            InvalidInputError: they are to be estimated.
        """
        spaces, kinds = self._known_spaces(state)
        return self.agent(self._given_law(spaces, size(kinds)), spaces, kinds), spaces, kinds

    def known_agent(self) -> Agent:
        """The follower alone; see `known`."""
        return self.known()[0]

    def first_values(self, spaces: dict[str, Space], kinds: dict[str, Space]) -> dict[str, Any]:
        """Where estimation starts: as given, or at 0."""
        given = {name: np.asarray(v, np.float64) for name, v in (self.parameters or {}).items()}
        if self.features is None:
            return given
        utility = self._utility(spaces, kinds)
        assert isinstance(utility, LinearUtility)
        ndim = 3 + (self.horizon is not None)
        zeros = {name: np.zeros(f.shape[ndim:]) for name, f in utility.features.items()}
        for name, value in given.items():
            if value.shape != zeros[name].shape:
                raise InvalidInputError(
                    f"parameters[{name!r}]: expected shape {zeros[name].shape}, got {value.shape}"
                )
        return zeros | given

    def simulate(
        self,
        parameters: Mapping[str, Any],
        *,
        units: int,
        periods: int,
        seed: int = 0,
        initial: Any = 0,
        unit: str = "unit",
        period: str = "period",
        state: str = "state",
        action: str = "action",
    ) -> dict[str, np.ndarray]:
        """A panel of agents who follow the optimal policy, as columns that `fit` takes.

        Args:
            parameters: θ, by name.
            units: how many agents; types are spread evenly among them.
            periods: how many each; T at most with a horizon.
            seed: the same seed gives the same panel.
            initial: the first state's number, or a distribution (S,) of it.
            unit: the name of the column of agents.
            period: that of the periods.
            state: that of the state, where `states` does not name it.
            action: that of the choices.

        Raises:
            InvalidInputError: transitions that are not given, or a count below 1.
        """
        return simulate(
            self,
            parameters,
            units=units,
            periods=periods,
            seed=seed,
            initial=initial,
            names=(unit, period, state, action),
        )

    def fit(self, data: Any, **options: Any):
        """Estimate θ; see `sobirl.estimation.fit`, whose arguments these are."""
        from sobirl.estimation.fitting import fit

        return fit(self, data, **options)

    def fit_mixture(self, data: Any, **options: Any):
        """With types that nobody sees; see `sobirl.estimation.fit_mixture`."""
        from sobirl.estimation.mixture import fit_mixture

        return fit_mixture(self, data, **options)

    def _known_spaces(self, state: str) -> tuple[dict[str, Space], dict[str, Space]]:
        found = []
        for spaces in (self._spaces, self._kinds):
            known = {}
            for column, space in spaces.items():
                if isinstance(space, Quantiles):
                    raise InvalidInputError(f"states: the quantiles of {column} need data")
                known[state if column == STATE else column] = space
            found.append(known)
        return found[0], found[1]

    def _given_law(self, spaces: dict[str, Space], kinds: int) -> Law:
        """The law, where it does not have to be estimated."""
        specs = self._every_transition()
        unknown = [
            spec
            for spec in specs
            if isinstance(spec, Transitions)
            and not (isinstance(spec, Increments) and spec.probabilities is not None)
        ]
        if unknown:
            raise InvalidInputError(
                f"transitions: {type(unknown[0]).__name__} are estimated from data; here they "
                "must be given, as an operator, a table or Increments(..., probabilities=...)"
            )
        nobody = np.zeros(0, np.int64)
        empty = Panel(
            nobody,
            nobody,
            nobody,
            nobody,
            np.zeros((0, len(spaces)), np.int64),
            nobody,
            nobody,
            nobody,
            {},
            str,
        )
        named = self._transitions_named(dict(zip(self._spaces, spaces, strict=True)))
        return first_stage(named, empty, list(spaces), sizes(spaces), kinds, self.action_levels)[0]

    def _utility(
        self, spaces: dict[str, Space], kinds: dict[str, Space]
    ) -> LinearUtility | CostUtility:
        return utility_of(
            self.features,
            self.cost,
            self.parameters,
            spaces,
            kinds,
            self.action_levels,
            self.horizon,
        )
