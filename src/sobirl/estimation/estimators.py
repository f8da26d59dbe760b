"""Estimators behind one contract: each says which lower level answers the parameters.

The likelihood and everything that follows from it is the same for all; what differs is the policy
to which the choices are compared: the optimal one (nested fixed point), or one step of policy
improvement from choice probabilities that are estimated first (Hotz and Miller), or repeated
(nested pseudo-likelihood).
"""

import abc
import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int

from sobirl.bilevel import BilevelProblem, NewtonResult
from sobirl.bilevel.newton import minimize_newton
from sobirl.core.errors import ConvergenceError, InvalidInputError
from sobirl.core.status import Status
from sobirl.estimation.finite_horizon import FiniteHorizon, Plan
from sobirl.estimation.law import Law
from sobirl.estimation.likelihood import Agent, Choices, Parameters, as_problem
from sobirl.mdp import SoftMDP
from sobirl.solvers import policy_value, solve


@dataclasses.dataclass(frozen=True)
class Task:
    """What an estimator is given.

    Attributes:
        agent: (parameters, type) -> the agent's problem.
        choices: the objective.
        kinds: C.
        x0: where to start.
        free: which parameters may move, like x0.
        tolerance: of the gradient's norm.
        max_steps: of Newton's method.
    """

    agent: Agent
    choices: Choices
    kinds: int
    x0: dict
    free: dict
    tolerance: float = 1e-6
    max_steps: int = 100

    def minimize(self, problem: BilevelProblem, x0: dict) -> NewtonResult:
        """Newton's method on -log L."""
        return minimize_newton(problem, x0, self.tolerance, self.max_steps, free=self.free)


@dataclasses.dataclass(frozen=True)
class Found:
    """What an estimator found: the problem whose objective is -log L, and its minimum."""

    problem: BilevelProblem
    newton: NewtonResult
    iterations: int = 1


class Estimator(abc.ABC):
    """The contract."""

    title: str

    @abc.abstractmethod
    def run(self, task: Task) -> Found:
        """Estimate."""


@dataclasses.dataclass(frozen=True)
class MaximumLikelihood(Estimator):
    """The nested fixed point: the choices against the optimal policy, by exact derivatives.

    Source: Rust (1987), section 4.
    """

    title = "maximum likelihood (nested fixed point)"

    def run(self, task: Task) -> Found:
        """See `Estimator`."""
        problem = as_problem(task.agent, task.choices, task.kinds)
        return Found(problem, task.minimize(problem, task.x0))


@dataclasses.dataclass(frozen=True)
class CCP(Estimator):
    """Two steps: choice probabilities by their frequencies, then one step of improvement on them.

    Nothing is solved but one linear system. Where few are seen, a state's frequencies shrink
    toward those of all states. For one agent it is asymptotically as good as maximum likelihood,
    for the improved policy has no derivative in the policy at its fixed point.

    Args:
        smoothing: pseudo-observations of each state.

    Sources: Hotz and Miller, Review of Economic Studies 60 (1993); Aguirregabiria and Mira,
    Econometrica 70 (2002), proposition 4.
    """

    smoothing: float | int = 1.0
    title = "two-step conditional choice probabilities"

    def run(self, task: Task) -> Found:
        """See `Estimator`."""
        if not self.smoothing > 0:
            raise InvalidInputError(f"smoothing: must be positive, got {self.smoothing}")
        step = ImprovedPolicy(task.agent, frequencies(task, self.smoothing))
        problem = as_problem(step, task.choices, task.kinds)
        return Found(problem, task.minimize(problem, task.x0))


@dataclasses.dataclass(frozen=True)
class NPL(Estimator):
    """Nested pseudo-likelihood: `CCP` again and again, each time from the policy that it gave.

    Where it ends, the policy is its own improvement: it is the optimal one, and the estimate that
    of maximum likelihood.

    Args:
        smoothing: as of `CCP`.
        max_iterations: how often at most.
        tolerance: change of the parameters, relative to 1 + their size, at which it ends.

    Source: Aguirregabiria and Mira, Econometrica 70 (2002).
    """

    smoothing: float | int = 1.0
    max_iterations: int = 50
    tolerance: float = 1e-7
    title = "nested pseudo-likelihood"

    def run(self, task: Task) -> Found:
        """See `Estimator`."""
        if self.max_iterations < 1:
            raise InvalidInputError(
                f"max_iterations: must be at least 1, got {self.max_iterations}"
            )
        found, change = CCP(self.smoothing).run(task), np.inf
        for iteration in range(2, self.max_iterations + 1):
            x = found.newton.x
            step = ImprovedPolicy(task.agent, _policies(found.problem, x))
            problem = as_problem(step, task.choices, task.kinds)
            found = Found(problem, task.minimize(problem, x), iteration)
            change = _change(x, found.newton.x)
            if change < self.tolerance:
                return found
        raise ConvergenceError(
            f"npl: the parameters still changed by {change:.2g} after {self.max_iterations} "
            "iterations; allow more, or take maximum likelihood"
        )


ESTIMATORS: dict[str, type[Estimator]] = {"mle": MaximumLikelihood, "ccp": CCP, "npl": NPL}


def as_estimator(estimator: Estimator | str) -> Estimator:
    """An estimator from itself or its name.

    Raises:
        InvalidInputError: there is none of that name.
    """
    if isinstance(estimator, Estimator):
        return estimator
    if estimator not in ESTIMATORS:
        raise InvalidInputError(
            f"estimator: expected one of {', '.join(ESTIMATORS)}, or an estimator such as "
            f"sobirl.estimation.CCP(smoothing=2), got {estimator!r}"
        )
    return ESTIMATORS[estimator]()


class Evaluated(eqx.Module):
    """A lower level that answers with one step of improvement on a policy."""

    problem: SoftMDP | FiniteHorizon
    policy: Float[Array, "..."]

    def solve(self, *, initial_value=None, throw: bool = True):
        """The improved policy; see `sobirl.LowerLevel`."""
        del initial_value, throw
        if isinstance(self.problem, SoftMDP):
            value = policy_value(self.problem, self.policy, regularized=True)
            return self.problem.respond(value)
        return _improved_plan(self.problem, self.policy)


def _improved_plan(problem: FiniteHorizon, policy: Float[Array, "T S A"]) -> Plan:
    """One step of improvement in every period, on the values of the policy."""
    scale = problem.temperature

    def back(value, now):
        reward, policy = now
        q = reward + problem.discount * problem.transition.expect(value)
        scaled = problem.log_reference + q / scale
        total = logsumexp(scaled, axis=-1, keepdims=True)
        entropy = -jnp.sum(policy * jnp.log(jnp.where(policy > 0, policy, 1.0)), axis=-1)
        value = jnp.sum(policy * q, axis=-1) + scale * entropy
        return value, (value, q, scaled - total)

    last = jnp.zeros(problem.transition.shape[0], problem.reward.dtype)
    return Plan(*jax.lax.scan(back, last, (problem.reward, policy), reverse=True)[1])


class ImprovedPolicy(eqx.Module):
    """`follower(x, kind)`: an agent who expects to follow a given policy from tomorrow on.

    Attributes:
        agent: its problem.
        policy: choice probabilities of every type (C,[T,]S,A).
    """

    agent: Agent
    policy: Float[Array | np.ndarray, "..."]

    def __call__(self, x: Parameters, kind: Int[Array, ""] | int = 0) -> Evaluated:
        """The lower level."""
        return Evaluated(self.agent(x, kind), jnp.asarray(self.policy)[kind])


def agent_of(follower: Any) -> Agent:
    """The agent behind a follower."""
    return follower if isinstance(follower, Agent) else follower.agent


def with_law(problem: BilevelProblem, law: Law) -> BilevelProblem:
    """The same problem with other transitions."""
    return eqx.tree_at(lambda p: agent_of(p.follower).law, problem, law)


def frequencies(task: Task, smoothing: float) -> Float[np.ndarray, "..."]:
    """Choice probabilities (C,[T,]S,A) by frequency, with `smoothing` pseudo-observations each."""
    agent = task.agent
    states, actions = agent.law(0).shape
    places = states * (agent.horizon or 1)
    counts = np.zeros((task.kinds, places, actions))
    kind = np.arange(task.kinds)[:, None]
    np.add.at(counts, (kind, np.asarray(task.choices.places)), np.asarray(task.choices.counts))
    share = counts.sum(axis=1, keepdims=True) + 1 / actions
    weights = share / share.sum(axis=-1, keepdims=True)
    if agent.available is not None:
        weights = weights * np.tile(np.asarray(agent.available) > 0, (agent.horizon or 1, 1))
        weights = weights / weights.sum(axis=-1, keepdims=True)
    counts = counts + smoothing * weights
    policy = counts / counts.sum(axis=-1, keepdims=True)
    if agent.horizon is None:
        return policy
    return policy.reshape(task.kinds, agent.horizon, states, actions)


@eqx.filter_jit
def _compiled_policies(problem, x):
    def one(context):
        solution = solve(problem.lower(x, context), throw=False)
        return jnp.exp(solution.log_policy), jnp.asarray(
            getattr(solution, "status_code", int(Status.CONVERGED))
        )

    policy, status = problem.each_context(one)
    return (policy if problem.contexts is not None else policy[None]), jnp.max(status)


def _policies(problem: BilevelProblem, x: dict) -> Float[Array, "..."]:
    policy, _ = _compiled_policies(problem, jax.tree.map(jnp.asarray, x))
    return policy


def _change(before: dict, after: dict) -> float:
    sizes = [
        np.max(np.abs(after[name] - before[name]) / (1 + np.abs(before[name]))) for name in before
    ]
    return float(max(sizes))
