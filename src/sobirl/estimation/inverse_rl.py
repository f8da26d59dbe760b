"""Inverse reinforcement learning: maximum likelihood of a reward with many parameters."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from sobirl.bilevel import BilevelProblem
from sobirl.bilevel.newton import minimize_newton
from sobirl.core.checks import as_float_array
from sobirl.core.errors import ConvergenceError, InvalidInputError
from sobirl.core.hoisting import hoisting_jit
from sobirl.estimation.demonstrations import Demonstrations
from sobirl.estimation.imitation import (
    OBJECTIVES,
    Imitator,
    Likelihood,
    LinearReward,
    mean_loss,
)
from sobirl.estimation.irl_result import End, IRLResult
from sobirl.mdp import SoftMDP
from sobirl.solvers import solve

# Up to so many numbers in x Newton's method has exact Hessians, above it L-BFGS.
_FEW = 64


@dataclasses.dataclass(frozen=True)
class MaximumLikelihoodIRL:
    """The reward under which demonstrations are most likely.

    Args:
        mdp: the demonstrators' process: transitions, γ, τ, the first state; its reward is what is
            known beforehand, 0 for nothing.
        features: φ (S,k) or (S,A,k): r_x = φ x ...
        reward: ... or any JAX function x -> (S,) or (S,A), for example of an Equinox network ...
        x0: ... with the x where it begins: any pytree; what in it is no number stays as it is.
        objective: "likelihood" of the decisions, or "causal-entropy", which matches expected
            feature counts where the reward is linear.
        regularization: λ; several to take the one with the highest likelihood of held-out episodes.

    Raises:
        InvalidInputError: features of another shape, a reward that gives another, or a negative λ.

    Source: Ziebart, Bagnell, Dey, ICML 2010; Zeng, Li, Garcia, Hong, NeurIPS 2022 (ML-IRL).
    """

    mdp: SoftMDP
    features: Any = None
    reward: Callable | None = None
    x0: PyTree = None
    objective: str = "likelihood"
    regularization: float | Sequence[float] = 0.0

    def __post_init__(self):
        if (self.features is None) == (self.reward is None):
            raise InvalidInputError("features, reward: give one of the two")
        if self.objective not in OBJECTIVES:
            raise InvalidInputError(
                f"objective: expected one of {', '.join(OBJECTIVES)}, got {self.objective!r}"
            )
        penalties = self.penalties
        if not penalties or not all(0 <= value < np.inf for value in penalties):
            raise InvalidInputError(
                f"regularization: must not be negative, got {self.regularization}"
            )
        states, actions = self.mdp.shape
        if self.features is not None:
            shape = np.shape(as_float_array("features", self.features))
            if len(shape) not in (2, 3) or shape[: len(shape) - 1] not in (
                (states,),
                (states, actions),
            ):
                raise InvalidInputError(
                    f"features: expected shape ({states}, k) or ({states}, {actions}, k), got "
                    f"{shape}"
                )
        elif self.x0 is None:
            raise InvalidInputError("x0: a reward needs the x where it begins")
        follower, x0 = self._follower()
        if not jax.tree.leaves(x0):
            raise InvalidInputError("x0: there is no number in it")
        try:
            jax.eval_shape(follower.table, x0)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(
                f"reward: must give ({states},) or ({states}, {actions}) for x ({error})"
            ) from error

    @property
    def penalties(self) -> tuple[float, ...]:
        """All λ."""
        return tuple(float(value) for value in np.atleast_1d(np.asarray(self.regularization)))

    def _follower(self) -> tuple[Imitator, PyTree]:
        if self.features is not None:
            features = jnp.asarray(self.features, jnp.result_type(float))
            return Imitator(self.mdp, LinearReward(features), None), jnp.zeros(features.shape[-1])
        arrays = jax.tree.map(lambda leaf: jnp.asarray(leaf) if _is_number(leaf) else leaf, self.x0)
        x0, static = eqx.partition(arrays, eqx.is_inexact_array)
        assert self.reward is not None
        return Imitator(self.mdp, self.reward, static), x0

    def problem(self, demonstrations: Demonstrations, penalty: float = 0.0) -> BilevelProblem:
        """-log L as a bilevel problem, for `minimize`, `check_gradients` or your own descent."""
        follower, _ = self._follower()
        tables = demonstrations.tables(self.mdp)
        objective = Likelihood(
            tables, self.mdp.reward, self.mdp.temperature, follower.table, jnp.asarray(penalty),
            self.objective,
        )  # fmt: skip
        return BilevelProblem(follower, objective)

    def fit(
        self,
        demonstrations: Any,
        *,
        held_out: float = 0.0,
        seed: int = 0,
        tolerance: float = 1e-6,
        max_steps: int = 500,
        **columns: str,
    ) -> IRLResult:
        """Estimate x.

        Args:
            demonstrations: `Demonstrations`, or what `Demonstrations.read` takes.
            held_out: the share of the episodes that is kept for the held-out likelihood.
            seed: of the choice of these.
            tolerance: of the gradient's norm.
            max_steps: of Newton's method or L-BFGS.
            columns: names of columns, see `Demonstrations.read`.

        Raises:
            InvalidInputError: bad demonstrations; several λ without held-out episodes.
            ConvergenceError: there was no minimum to be found.
        """
        if not isinstance(demonstrations, Demonstrations):
            demonstrations = Demonstrations.read(demonstrations, self.mdp, **columns)
        train, held = demonstrations, None
        if held_out:
            train, held = demonstrations.split(held_out, seed)
        if held is None and len(self.penalties) > 1:
            raise InvalidInputError("held_out: several regularizations need episodes to choose by")
        best = None
        for penalty in self.penalties:
            found = self._fit(train, held, penalty, tolerance, max_steps)
            if best is None or (found.held_out_log_likelihood or 0) > (
                best.held_out_log_likelihood or 0
            ):
                best = found
        assert best is not None  # there is a λ
        return best

    def _fit(self, train, held, penalty, tolerance, max_steps) -> IRLResult:
        problem = self.problem(train, penalty)
        follower, x0 = self._follower()
        end = _minimize(problem, x0, tolerance, max_steps)
        end = dataclasses.replace(end, x=jax.tree.map(jnp.asarray, end.x))
        response = solve(follower(end.x))
        other = None
        if held is not None:
            other = -float(mean_loss(held.tables(self.mdp), response.log_policy))
        return IRLResult(
            model=self,
            demonstrations=train,
            x=eqx.combine(end.x, follower.static),
            reward=np.asarray(follower.table(end.x)),
            response=response,
            log_likelihood=-float(mean_loss(train.tables(self.mdp), response.log_policy)),
            held_out_log_likelihood=other,
            regularization=penalty,
            end=end,
        )


@hoisting_jit
def _value_and_gradient(problem: BilevelProblem, x: PyTree):
    return jax.value_and_grad(lambda x: problem.value(x, throw=False))(x)


def _minimize(problem: BilevelProblem, x0: PyTree, tolerance: float, max_steps: int) -> End:
    """Newton's method for few numbers, L-BFGS for many."""
    flat, unravel = ravel_pytree(x0)
    if len(flat) <= _FEW:
        newton = minimize_newton(problem, x0, tolerance, max_steps)
        return End(
            newton.x, newton.objective, newton.hypergradient_norm, newton.converged,
            newton.message, newton.steps, newton.history, newton,
        )  # fmt: skip
    rows: list[tuple[float, float]] = []

    def both(vector):
        value, gradient = _value_and_gradient(problem, unravel(jnp.asarray(vector, flat.dtype)))
        gradient = np.asarray(ravel_pytree(gradient)[0], np.float64)
        value = float(value)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return np.inf, np.zeros_like(gradient)
        return value, gradient

    def after(vector):
        value, gradient = both(vector)
        rows.append((value, float(np.linalg.norm(gradient))))

    start, slope = both(np.asarray(flat, np.float64))
    if not np.isfinite(start):
        raise ConvergenceError("x0: the follower has no finite solution there")
    rows.append((start, float(np.linalg.norm(slope))))
    options = {"maxiter": max_steps, "gtol": tolerance / np.sqrt(len(flat)), "ftol": 1e-15}
    end = scipy.optimize.minimize(
        both, np.asarray(flat, np.float64), jac=True, method="L-BFGS-B", callback=after,
        options=options,
    )  # fmt: skip
    norm = float(np.linalg.norm(end.jac))
    objectives, norms = np.array(rows).T
    converged = norm < tolerance
    message = (
        f"The gradient's norm, {norm:.2g}, is {'below' if converged else 'above'} the tolerance "
        f"{tolerance:.2g} after {end.nit} steps of L-BFGS."
    )
    return End(
        unravel(jnp.asarray(end.x, flat.dtype)), float(end.fun), norm, converged, message,
        int(end.nit), {"objective": objectives, "hypergradient_norm": norms},
    )  # fmt: skip


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, float) or (
        isinstance(leaf, (np.ndarray, jax.Array)) and np.issubdtype(leaf.dtype, np.floating)
    )
