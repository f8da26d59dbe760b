"""What an estimate says, as economists read it."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Bool, Float, Int

from sobirl.core.errors import InvalidInputError
from sobirl.core.reading import listed, suggestion
from sobirl.estimation import tables
from sobirl.estimation.covariance import FIRST_STAGES, check_cov_type, covariance
from sobirl.estimation.estimators import Estimator, Found, Task
from sobirl.estimation.identification import Identification, identification
from sobirl.estimation.joint import Joint
from sobirl.estimation.layout import Layout
from sobirl.estimation.model import Data, DiscreteChoice


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What the standard errors are made of, in the model's order of n numbers.

    Attributes:
        information: H = -∂²log L (n,n).
        scores: ∂log π of every decision (N,n).
        first: what the first stage adds to them (N,n); None where it does not count.
        log_probability: log π of every decision (N,).
        table: log π where somebody chose (C,p,A); `result.index` says where each decision was.
        slopes: its derivatives (C,p,A,n).
    """

    information: Float[np.ndarray, "n n"]
    scores: Float[np.ndarray, "N n"]
    first: Float[np.ndarray, "N n"] | None
    log_probability: Float[np.ndarray, "N"]
    table: Float[np.ndarray, "C p A"]
    slopes: Float[np.ndarray, "C p A n"]


@dataclasses.dataclass(frozen=True)
class Test:
    """A test of restrictions.

    Attributes:
        kind: "Wald" or "likelihood ratio".
        statistic: asymptotically χ² if the restrictions hold.
        degrees: its degrees of freedom.
        p_value: the chance of a larger statistic.
    """

    kind: str
    statistic: float
    degrees: int
    p_value: float

    @classmethod
    def of(cls, kind: str, statistic: float, degrees: int) -> "Test":
        """The test of a statistic."""
        p_value = float(scipy.special.chdtrc(degrees, max(statistic, 0.0)))
        return cls(kind, float(statistic), degrees, p_value)

    def __str__(self) -> str:
        return (
            f"{self.kind} test: chi2({self.degrees}) = {self.statistic:.4g}, p = {self.p_value:.4g}"
        )


@dataclasses.dataclass(frozen=True)
class ChoiceResult:
    """The estimate of a `DiscreteChoice` model.

    `values`, `standard_errors` and all tables have the parameters in the model's order, those of
    several numbers as `name[0]`, `name[1]`, ...
    """

    model: DiscreteChoice
    data: Data
    task: Task
    estimator: Estimator
    found: Found
    layout: Layout
    moving: Bool[np.ndarray, "n"]
    evidence: Evidence
    index: Int[np.ndarray, "N"]
    cov_type: str
    first_stage: str
    joint: Joint | None
    seconds: float

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names (n,)."""
        return self.layout.labels

    @property
    def x(self) -> dict[str, Any]:
        """The parameters as the model's functions get them."""
        return self.found.newton.x

    @property
    def values(self) -> Float[np.ndarray, "n"]:
        """θ̂."""
        return self.layout.vector(self.x)

    @property
    def params(self) -> dict[str, float]:
        """θ̂ by name."""
        return dict(zip(self.names, self.values.tolist(), strict=True))

    def __getitem__(self, name: str) -> float:
        self._check_name(name)
        return self.params[name]

    @functools.cached_property
    def covariance(self) -> Float[np.ndarray, "n n"]:
        """Of θ̂, by `cov_type` and `first_stage`; 0 for parameters held fixed."""
        evidence, panel = self.evidence, self.data.panel
        keep = np.flatnonzero(self.moving)
        found = np.zeros((len(self.moving),) * 2)
        if self.joint is not None:
            size = len(self.moving)
            extra = np.arange(size, len(self.joint.information))
            places = np.concatenate([keep, extra])
            cell = panel.kind, self.index, panel.action
            scores = self.joint.slopes[cell]
            np.add.at(scores, self.joint.observation, self.joint.transition_scores)
            whole = covariance(
                self.joint.information[np.ix_(places, places)],
                scores[:, places],
                None,
                panel.unit,
                self.cov_type,
            )
            found[np.ix_(keep, keep)] = whole[: len(keep), : len(keep)]
            return found
        found[np.ix_(keep, keep)] = covariance(
            evidence.information[np.ix_(keep, keep)],
            evidence.scores[:, keep],
            None if evidence.first is None else evidence.first[:, keep],
            panel.unit,
            self.cov_type,
        )
        return found

    @property
    def standard_errors(self) -> Float[np.ndarray, "n"]:
        """Square roots of the covariance's diagonal; NaN for parameters held fixed."""
        errors = np.sqrt(np.diag(self.covariance))
        return np.where(self.moving, errors, np.nan)

    @property
    def z_values(self) -> Float[np.ndarray, "n"]:
        """θ̂ over its standard errors."""
        return self.values / self.standard_errors

    @property
    def p_values(self) -> Float[np.ndarray, "n"]:
        """Of θ = 0, two-sided."""
        return 2 * scipy.special.ndtr(-np.abs(self.z_values))

    def confidence_intervals(self, level: float = 0.95) -> Float[np.ndarray, "n 2"]:
        """Wald intervals."""
        if not 0 < level < 1:
            raise InvalidInputError(f"level: must lie between 0 and 1, got {level}")
        half = scipy.special.ndtri((1 + level) / 2) * self.standard_errors
        return np.stack([self.values - half, self.values + half], axis=1)

    @property
    def log_likelihood(self) -> float:
        """Of the choices."""
        return float(self.evidence.log_probability.sum())

    @property
    def joint_log_likelihood(self) -> float:
        """Of choices and transitions, those that were seen and are estimated."""
        law = self._law
        total = self.log_likelihood
        for psi, seen in zip(law.psi, self.data.seen, strict=True):
            if psi is not None and seen is not None:
                total += float(np.log(np.asarray(psi)[seen.row, seen.place]).sum())
        return total

    @property
    def _law(self):
        from sobirl.estimation.estimators import agent_of

        return agent_of(self.found.problem.follower).law

    @property
    def num_observations(self) -> int:
        """N, the decisions."""
        return len(self.data.panel)

    @property
    def num_free(self) -> int:
        """How many parameters were estimated."""
        return int(self.moving.sum())

    @property
    def aic(self) -> float:
        """Akaike's criterion, of the choices."""
        return -2 * self.log_likelihood + 2 * self.num_free

    @property
    def bic(self) -> float:
        """Schwarz's criterion, of the choices."""
        return -2 * self.log_likelihood + np.log(self.num_observations) * self.num_free

    @property
    def transition_probabilities(self) -> tuple[Float[np.ndarray, "..."] | None, ...]:
        """ψ of every part of the state; None where it is given."""
        return tuple(None if psi is None else np.asarray(psi) for psi in self._law.psi)

    def with_covariance(
        self, cov_type: str | None = None, first_stage: str | None = None
    ) -> "ChoiceResult":
        """The same estimate with other standard errors.

        Raises:
            InvalidInputError: an unknown type, or "joint", which is another estimate.
        """
        cov_type = self.cov_type if cov_type is None else cov_type
        check_cov_type(cov_type)
        changes: dict[str, Any] = {"cov_type": cov_type}
        if first_stage is not None and first_stage != self.first_stage:
            from sobirl.estimation.fitting import gather_evidence

            if first_stage not in FIRST_STAGES or "joint" in (first_stage, self.first_stage):
                raise InvalidInputError(
                    "first_stage: 'fixed' and 'murphy-topel' can be changed after the fit, 'joint' "
                    f"is another fit; got {first_stage!r}"
                )
            estimated = any(seen is not None for seen in self.data.seen)
            two_step = first_stage == "murphy-topel" and estimated
            changes["first_stage"] = first_stage if estimated else "fixed"
            changes["evidence"] = gather_evidence(
                self.found, self.data, self.index, self.layout, two_step
            )
        return dataclasses.replace(self, **changes)

    @property
    def identification(self) -> Identification:
        """Rank and condition of the information, and what they say in words."""
        return identification(self.evidence.information, self.moving, self.layout)

    def wald_test(self, restrictions: Mapping[str, float | int] | Callable[..., Any]) -> Test:
        """Whether restrictions hold, by the estimate's covariance.

        Args:
            restrictions: parameter -> value, jointly; or a JAX function of the parameters (a
                mapping from names to arrays, as the model's functions get it) that is 0, one
                number or several, where they hold.
        """
        values = self.values
        if callable(restrictions):
            from sobirl.estimation.fitting import Unflatten

            unflatten = Unflatten.of(self.layout)

            def of(vector):
                return jnp.atleast_1d(jnp.asarray(restrictions(unflatten(vector))))

            gap = np.asarray(of(jnp.asarray(values)))
            slopes = np.asarray(jax.jacfwd(of)(jnp.asarray(values)))
        else:
            places = self._places(restrictions)
            gap = values[places] - np.array([float(v) for v in restrictions.values()])
            slopes = np.eye(len(values))[places]
        spread = slopes @ self.covariance @ slopes.T
        return Test.of("Wald", float(gap @ np.linalg.solve(spread, gap)), len(gap))

    def likelihood_ratio_test(self, restricted: "Mapping[str, Any] | ChoiceResult") -> Test:
        """Whether restrictions hold, by what they cost in likelihood.

        Args:
            restricted: parameters with the values that they are to keep, for which the model is
                estimated again; or the estimate of a model that is nested in this one.
        """
        if not isinstance(restricted, ChoiceResult):
            restricted = self.refit(fixed=restricted)
        degrees = self.num_free - restricted.num_free
        if degrees < 1:
            raise InvalidInputError(
                f"restricted: has {restricted.num_free} free parameters, this model "
                f"{self.num_free}; expected fewer"
            )
        return Test.of(
            "likelihood ratio", 2 * (self.log_likelihood - restricted.log_likelihood), degrees
        )

    def refit(self, **options: Any) -> "ChoiceResult":
        """The model on the same data again, from this estimate on, with other options of `fit`."""
        given = {
            "estimator": self.estimator,
            "cov_type": self.cov_type,
            "first_stage": self.first_stage,
            "start": self.x,
        }
        return self.model.fit(self.data, **(given | options))

    def bootstrap(self, replications: int = 200, seed: int = 0):
        """Units drawn again; see `sobirl.estimation.bootstrap`."""
        from sobirl.estimation.resampling import bootstrap

        return bootstrap(self, replications, seed)

    def profile(self, name: str, points: Any = 11, width: float = 3.0):
        """The profile likelihood of a parameter; see `sobirl.estimation.profile`."""
        from sobirl.estimation.profiles import profile

        return profile(self, name, points, width)

    def counterfactual(self, **changes: Any):
        """What agents would do; see `sobirl.estimation.counterfactual`."""
        from sobirl.estimation.counterfactuals import counterfactual

        return counterfactual(self, **changes)

    def demand(self, parameter: str, values: Any, action: Any):
        """Long-run shares of an action by a parameter; see `sobirl.estimation.demand`."""
        from sobirl.estimation.counterfactuals import demand

        return demand(self, parameter, values, action)

    def summary(self, level: float = 0.95) -> str:
        """A table for people, as statsmodels prints it."""
        return tables.summary(self, level)

    def to_latex(self, caption: str | None = None, label: str | None = None) -> str:
        """A LaTeX table (packages: booktabs)."""
        return tables.latex([self], caption=caption, label=label)

    def to_frame(self, level: float = 0.95):
        """A pandas frame, a row a parameter.

        Raises:
            InvalidInputError: pandas is not installed.
        """
        return tables.frame(self, level)

    def to_dict(self, level: float = 0.95) -> dict[str, Any]:
        """Plain numbers and text, for JSON."""
        return tables.plain(self, level)

    def __str__(self) -> str:
        return self.summary()

    def _check_name(self, name: str) -> None:
        if name not in self.names:
            raise InvalidInputError(
                f"{name}: is no parameter{suggestion(str(name), self.names)}; there are "
                f"{listed(self.names)}"
            )

    def _places(self, names) -> list[int]:
        for name in names:
            self._check_name(name)
        return [self.names.index(name) for name in names]
