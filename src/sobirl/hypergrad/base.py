"""What all methods have in common, so that a method's file holds one context's mathematics."""

import abc
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from sobirl.core.protocols import LowerLevel, Problem
from sobirl.core.response import Response
from sobirl.core.status import Status
from sobirl.hypergrad.leader_return import LeaderReturn
from sobirl.hypergrad.methods import EVERYTHING, Needs
from sobirl.hypergrad.requirements import check_entry_points, known_objective, soft_mdp
from sobirl.hypergrad.trajectory_loss import Trajectories, TrajectoryLoss
from sobirl.mdp import SoftMDP

_OBJECTIVES = {"return": LeaderReturn, "loss": TrajectoryLoss}


class ContextProblem(NamedTuple):
    """A bilevel problem as it is in one context.

    Attributes:
        problem: the whole problem.
        context: None if it has no contexts.
        method: the name, in errors, of the method that looks at it.
    """

    problem: Problem
    context: PyTree
    method: str

    def mdp(self, x: PyTree) -> SoftMDP:
        """The follower's soft MDP at x; another lower level is refused."""
        return soft_mdp(self.method, self.problem, x, self.context)

    def lower(self, x: PyTree) -> PyTree:
        """The lower level at x, of whatever kind."""
        return self.problem.lower(x, self.context)

    def solves_itself(self, x: PyTree) -> bool:
        """Whether that is of another kind than a soft MDP, with a `solve` of its own.

        A `LeaderReturn` is a return in a soft MDP: with one nothing else is a lower level.
        """
        lower = self.lower(x)
        other = isinstance(lower, LowerLevel) and not isinstance(lower, SoftMDP)
        return other and not isinstance(self.problem.objective, LeaderReturn)

    def upper(self, x: PyTree, response: Response | PyTree) -> Float[Array, ""]:
        """f at a response."""
        return self.problem.upper(x, response, self.context)

    @property
    def given(self) -> tuple:
        """The context as the problem's own functions take it: not at all, if there is none."""
        return () if self.context is None else (self.context,)

    @property
    def objective(self) -> Any:
        """The objective itself: a `LeaderReturn` or `TrajectoryLoss` where the method needs one."""
        return self.problem.objective

    def leader_reward(self, mdp: SoftMDP, x: PyTree) -> Float[Array, "S A"]:
        """r_u at x, of a `LeaderReturn`."""
        return self.objective.reward_table(mdp, x, *self.given)

    def losses(self, x: PyTree, tuples: Trajectories) -> Float[Array, "B"]:
        """l of every tuple, of a `TrajectoryLoss`."""
        return self.objective.losses(x, tuples, *self.given)

    def all_losses(self, x: PyTree, tuples: Trajectories) -> Float[Array, "B"]:
        """l of every tuple, and with it the loss whose trajectories are held."""
        return self.objective.all_losses(x, tuples, *self.given)


class HypergradMethod(eqx.Module):
    """A method, written for one context: subclasses have `begin` and `estimate_one`.

    Every context has a key of its own; hyper-gradients are averaged with the contexts' weights, of
    metrics the largest counts (of `environment_steps` the sum), and the status is the worst, or
    `NOT_FINITE` if the objective is not finite.

    `needs` says what is asked of a problem; `init` refuses problems that do not offer it.
    `objective_is_exact` says whether the objective is φ(x) itself, see `Method`.
    """

    needs: ClassVar[Needs] = Needs()
    objective_is_exact: ClassVar[bool] = False

    @abc.abstractmethod
    def begin(self, problem: ContextProblem, x: PyTree, key: Key[Array, ""]) -> PyTree:
        """The state before the first step."""

    @abc.abstractmethod
    def estimate_one(
        self, problem: ContextProblem, x: PyTree, state: PyTree, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], PyTree, PyTree, dict[str, Array]]:
        """The objective, the hyper-gradient, the next state, and further metrics.

        Among the metrics may be a `status`, an integer `Status`; it is CONVERGED by default.
        """

    def advice(self, status: Status) -> str | None:
        """What to do about a status of this method's; None for what `Status.advice` says."""
        return None

    @property
    def name(self) -> str:
        """The method's name in errors."""
        return type(self).__name__

    def init(self, problem: Problem, x: PyTree, key: Key[Array, ""]) -> PyTree:
        """The state before the first step, of all contexts.

        Raises:
            InvalidInputError: the problem does not offer what the method needs.
        """
        if self.needs.objective != "any":
            known_objective(self.name, problem, _OBJECTIVES[self.needs.objective])
        if {*self.needs.x_enters} != {*EVERYTHING}:
            check_entry_points(self.name, problem, x, key, self.needs.x_enters)

        def one(context, key):
            return self.begin(ContextProblem(problem, context, self.name), x, key)

        return problem.each_context(one, problem.context_keys(key))

    def estimate(
        self, problem: Problem, x: PyTree, state: PyTree, key: Key[Array, ""]
    ) -> tuple[PyTree, PyTree, dict[str, Array]]:
        """The (estimate of the) hyper-gradient at x, the next state, and metrics."""

        def one(context, state, key):
            return self.estimate_one(ContextProblem(problem, context, self.name), x, state, key)

        objectives, hypergradients, state, metrics = problem.each_context(
            one, state, problem.context_keys(key)
        )
        objective, hypergradient = problem.average((objectives, hypergradients))
        return hypergradient, state, summarize(objective, metrics)


def summarize(objective: Float[Array, ""], metrics: dict[str, Array]) -> dict[str, Array]:
    """Metrics over an axis of contexts, or of anything: the steps of all, otherwise the worst."""
    worst = jax.tree.map(jnp.max, {"status": jnp.int32(Status.CONVERGED), **metrics})
    if "environment_steps" in metrics:
        worst["environment_steps"] = jnp.sum(metrics["environment_steps"])
    failed = ~jnp.isfinite(objective)
    worst["status"] = jnp.where(failed, jnp.int32(Status.NOT_FINITE), worst["status"])
    return {**worst, "objective": objective}
