"""Inverse reinforcement learning: maximum likelihood of a reward with many parameters.

The follower is the soft MDP with the reward r + r_x, the objective one of

    likelihood      -1/N Σ_n log π_x(a_n|s_n) + λ/2 ‖x‖²
    causal entropy  1/(τ W) Σ_i (V_x(s_0) - Σ_t Γ_t r_x(s_t,a_t)) + λ/2 ‖x‖²

with Γ_t the product of the discounts before step t and W the sum of all Γ_t. The second is the
first with the weights Γ_t and with what follows a step taken in the mean over P: its gradient is
the difference of discounted sums of ∇r between the policy and the demonstrations, so that for
rewards linear in features the minimum matches their expected counts (maximum causal entropy), and
it is convex. An episode that is cut off ends with Q_x of its last step in the place of r_x.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from sobirl.bilevel import BilevelProblem
from sobirl.bilevel.newton import NewtonResult, minimize_newton
from sobirl.core.checks import as_float_array
from sobirl.core.errors import ConvergenceError, InvalidInputError
from sobirl.core.hoisting import hoisting_jit
from sobirl.estimation.demonstrations import Demonstrations, Tables
from sobirl.estimation.identification import Identification, identification
from sobirl.estimation.layout import Layout
from sobirl.mdp import SoftMDP
from sobirl.solvers import Solution, occupancy, solve

OBJECTIVES = ("likelihood", "causal-entropy")
# Up to so many numbers in x Newton's method has exact Hessians, above it L-BFGS.
_FEW = 64


class LinearReward(eqx.Module):
    """r_x = φ x.

    Attributes:
        features: φ (S,k) or (S,A,k).
    """

    features: Float[Array | np.ndarray, "..."]

    def __call__(self, x: Float[Array | np.ndarray, "k"]) -> Float[Array, "..."]:
        """The table."""
        return jnp.asarray(self.features) @ jnp.asarray(x)


class Imitator(eqx.Module):
    """`follower(x)`: the soft MDP with the reward r + r_x.

    Attributes:
        mdp: everything else; r is what is known of the reward beforehand.
        reward: r_x.
        static: what in x is no number.
    """

    mdp: SoftMDP
    reward: Callable
    static: PyTree = eqx.field(static=True)

    def table(self, x: PyTree) -> Float[Array, "S A"]:
        """r_x."""
        found = jnp.asarray(self.reward(eqx.combine(x, self.static)))
        return jnp.broadcast_to(found[:, None] if found.ndim == 1 else found, self.mdp.shape)

    def __call__(self, x: PyTree) -> SoftMDP:
        """The lower level."""
        return eqx.tree_at(lambda m: m.reward, self.mdp, self.mdp.reward + self.table(x))


class Likelihood(eqx.Module):
    """The objective: of all decisions alike, or of episodes as maximum causal entropy has it."""

    tables: Tables
    reward: Float[Array, "S A"]
    temperature: Float[Array, ""]
    table: Callable
    penalty: Float[Array, ""]
    kind: str = eqx.field(static=True)

    def __call__(self, x: PyTree, response: Any) -> Float[Array, ""]:
        """Nats a decision, and λ/2 ‖x‖²."""
        size = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(x))
        tables = self.tables
        if self.kind == "likelihood":
            loss = mean_loss(tables, response.log_policy)
        else:
            reward = self.reward + self.table(x)
            earned = jnp.sum(tables.visits * reward) + jnp.sum(tables.last * response.q)
            weight = np.sum(tables.visits) + np.sum(tables.last)
            loss = (jnp.sum(tables.first * response.value) - earned) / (self.temperature * weight)
        return loss + self.penalty / 2 * size


def mean_loss(tables: Tables, log_policy: Float[Array, "S A"]) -> Float[Array, ""]:
    """-1/N Σ_n log π(a_n|s_n)."""
    counts = jnp.asarray(tables.counts)
    total = jnp.sum(counts * jnp.where(counts > 0, log_policy, 0.0))
    return -total / jnp.sum(counts)


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
    ) -> "IRLResult":
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

    def _fit(self, train, held, penalty, tolerance, max_steps) -> "IRLResult":
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


@dataclasses.dataclass(frozen=True)
class End:
    """How a minimization ended."""

    x: PyTree
    objective: float
    gradient_norm: float
    converged: bool
    message: str
    steps: int
    history: dict[str, np.ndarray]
    newton: NewtonResult | None = None


@dataclasses.dataclass(frozen=True)
class IRLResult:
    """A reward that explains demonstrations.

    Attributes:
        model: what was estimated.
        demonstrations: from what, without those held out.
        x: the parameters.
        reward: r_x (S,A). Other rewards have the same policy: see `shaped`.
        response: of the follower.
        log_likelihood: mean log π of a decision.
        held_out_log_likelihood: the same of the episodes held out; None without any.
        regularization: λ, the chosen one.
        end: how the minimization ended.
    """

    model: MaximumLikelihoodIRL
    demonstrations: Demonstrations
    x: PyTree
    reward: Float[np.ndarray, "S A"]
    response: Solution
    log_likelihood: float
    held_out_log_likelihood: float | None
    regularization: float
    end: End

    @property
    def policy(self) -> Float[np.ndarray, "S A"]:
        """π_x."""
        return np.asarray(self.response.policy)

    @property
    def identification(self) -> Identification | None:
        """Rank and condition of the Hessian in words; None where x has too many numbers."""
        newton = self.end.newton
        if newton is None:
            return None
        count, features = len(newton.hessian), self.model.features
        scale = np.ones(count)
        if features is not None:
            scale = np.mean(np.reshape(features, (-1, count)) ** 2, axis=0)
        # What round-off leaves of a feature that changes nothing is no curvature.
        size = np.diag(newton.hessian) / np.where(scale > 0, scale, 1.0)
        told = size > 1e-11 * size.max(initial=0.0)
        hessian = np.where(told[:, None] & told, newton.hessian, 0.0)
        return identification(hessian, np.ones(count, bool), Layout.of({"x": np.zeros(count)}))

    @property
    def standard_errors(self) -> Float[np.ndarray, "n"] | None:
        """From the inverse Hessian of the likelihood, if it is that and nothing else that was
        minimized; None elsewhere, and where x is not identified.
        """
        newton, told = self.end.newton, self.identification
        if newton is None or newton.inverse_hessian is None or told is None:
            return None
        plain = self.model.objective == "likelihood" and not self.regularization
        if not plain or told.rank < told.size:
            return None
        return np.sqrt(np.diag(newton.inverse_hessian) / len(self.demonstrations))

    def feature_counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Expected discounted counts of the features an episode: the policy's, and those of the
        demonstrations. They agree at the minimum of "causal-entropy" without λ.
        """
        if self.model.features is None:
            raise InvalidInputError("feature_counts: the reward has no features")
        mdp, tables = self.model.mdp, self.demonstrations.tables(self.model.mdp)
        features = np.asarray(self.model.features, np.float64)
        if features.ndim == 2:
            features = np.repeat(features[:, None], mdp.shape[1], axis=1)
        episodes = self.demonstrations.num_episodes
        start = eqx.tree_at(lambda m: m.initial, mdp, jnp.asarray(tables.first / episodes))
        expected = np.asarray(occupancy(start, self.response.policy))
        # What a cut-off episode would go on with is the policy's, after its last step.
        after = np.asarray(_follow_up(mdp, jnp.asarray(tables.last / episodes)))
        beyond = np.zeros_like(expected)
        if after.sum() > 0:
            rest = eqx.tree_at(lambda m: m.initial, mdp, jnp.asarray(after))
            beyond = np.asarray(occupancy(rest, self.response.policy))
        seen = (tables.visits + tables.last) / episodes + beyond
        return np.einsum("sa,sak->k", expected, features), np.einsum("sa,sak->k", seen, features)

    def respond(self, mdp: SoftMDP) -> Solution:
        """What the demonstrators would do in another world with the same states and actions."""
        return solve(eqx.tree_at(lambda m: m.reward, mdp, mdp.reward + jnp.asarray(self.reward)))


def _follow_up(mdp: SoftMDP, weights: Float[Array, "S A"]) -> Float[Array, "S"]:
    """Where steps lead, weighted with their discounts."""
    return mdp.transition.push(mdp.discount * weights)


def shaped(
    mdp: SoftMDP, reward: Float[np.ndarray, "S A"], like: Float[np.ndarray, "S A"]
) -> Float[np.ndarray, "S A"]:
    """r(s,a) + γ E h(s') - h(s) with the potential h that brings it nearest to another reward.

    All of these have the same policy, so that no demonstrations can tell them apart; the distance
    that is left is what was not recovered. Actions that are not allowed count for nothing.

    Args:
        mdp: whose transitions and discount count; with at most 2000 states.
        reward: r.
        like: the other one.

    Raises:
        InvalidInputError: too many states for a dense least-squares problem.

    Source: Ng, Harada, Russell, ICML 1999.
    """
    states = mdp.shape[0]
    if states > 2000:
        raise InvalidInputError(f"mdp: shaping needs at most 2000 states, got {states}")
    moves = jax.vmap(lambda h: mdp.discount * mdp.transition.expect(h) - h[:, None])(
        jnp.eye(states)
    )
    moves = np.asarray(moves)  # (S,S,A): by potential, state, action
    allowed = np.ones(mdp.shape, bool)
    if mdp.reference_policy is not None:
        allowed = np.asarray(mdp.reference_policy) > 0
    basis = moves[:, allowed]
    gap = (np.asarray(like) - np.asarray(reward))[allowed]
    potential = np.linalg.lstsq(basis @ basis.T, basis @ gap, rcond=1e-12)[0]
    return np.asarray(reward) + np.einsum("h,hsa->sa", potential, moves)


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
