"""What inverse reinforcement learning found."""

import dataclasses
from typing import TYPE_CHECKING

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from sobirl.bilevel.newton import NewtonResult
from sobirl.core.errors import InvalidInputError
from sobirl.estimation.demonstrations import Demonstrations
from sobirl.estimation.identification import Identification, identification
from sobirl.estimation.layout import Layout
from sobirl.mdp import SoftMDP
from sobirl.solvers import Solution, occupancy, solve

if TYPE_CHECKING:
    from sobirl.estimation.inverse_rl import MaximumLikelihoodIRL


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

    model: "MaximumLikelihoodIRL"
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
