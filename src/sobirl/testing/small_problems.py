"""Tiny problems for methods of every kind, and strange ones that they may refuse."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from sobirl.bilevel import BilevelProblem
from sobirl.hypergrad import LeaderReturn, Needs, TrajectoryLoss
from sobirl.problems.preferences import Preferences
from sobirl.problems.random_incentives import RandomIncentives


class NoSoftMDP(eqx.Module):
    """A lower level that answers, but has no Bellman equation."""

    answer: PyTree

    def solve(self, initial_value=None, throw=True) -> PyTree:
        """The answer."""
        return self.answer


def suitable(needs: Needs) -> tuple[BilevelProblem, PyTree]:
    """A problem that offers what a method needs, x in the follower's reward alone, and an x."""
    if needs.objective == "loss":
        instance = Preferences.generate(states=3, actions=2, dimension=2, horizon=2)
        return instance.problem(), jnp.array([0.4, -0.3])
    instance = RandomIncentives.generate(states=3, actions=2, dimension=2)
    return instance.problem(), {"pay": jnp.array([0.3, 0.2])}


def in_contexts(problem: BilevelProblem) -> BilevelProblem:
    """A problem in two contexts of unlike weight: a context adds to the follower's reward."""

    def follower(x, context):
        mdp = problem.follower(x)
        return eqx.tree_at(lambda m: m.reward, mdp, mdp.reward * (1 + context))

    return BilevelProblem(
        follower,
        _judged(problem.objective, follower, lambda function: lambda *args: function(*args[:-1])),
        contexts=jnp.array([0.0, 0.5]),
        weights=jnp.array([0.3, 0.7]),
    )


def strange(problem: BilevelProblem) -> dict[str, BilevelProblem]:
    """Problems that a method may refuse, by what is strange about them."""

    def hotter(x):
        mdp = problem.follower(x)
        warmth = 1 + 0.1 * sum(jnp.sum(leaf) for leaf in jax.tree.leaves(x))
        return eqx.tree_at(lambda m: m.temperature, mdp, mdp.temperature * warmth)

    return {
        "a follower that is no SoftMDP": BilevelProblem(NoSoftMDP, _some_number),
        "a follower with x in its temperature": BilevelProblem(
            hotter, _judged(problem.objective, hotter)
        ),
        "an objective that is a function of the response": BilevelProblem(
            problem.follower, _some_number
        ),
    }


def _some_number(x: PyTree, response: PyTree) -> Array:
    """A function of whatever the response is."""
    return sum((jnp.sum(leaf**2) for leaf in jax.tree.leaves(response)), jnp.zeros(()))


def _judged(
    objective: Callable, follower: Callable, adapt: Callable[[Callable], Callable] = lambda f: f
) -> Callable:
    """The same objective of another follower, its functions adapted to other arguments."""
    if isinstance(objective, LeaderReturn):
        return LeaderReturn(follower, adapt(objective.reward), objective.discount)
    if isinstance(objective, TrajectoryLoss):
        held = None if objective.held is None else adapt(objective.held)
        sizes = objective.horizon, objective.num_trajectories
        return TrajectoryLoss(follower, adapt(objective.loss), *sizes, held)
    return adapt(objective)
