"""A problem of tables as an environment: for a follower that learns in it instead of being solved.

The follower sees the number of its state as a one-hot vector and is paid what it does; nobody tells
it rewards or transitions. All that it earns is the incentive of the leader's x, and where x moves
the transitions the environment gives their probability:

    sb.design_incentives(**simulated(problem, x0), follower="soft-q", steps=20_000)
"""

import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from sobirl.bilevel import BilevelProblem
from sobirl.core.errors import InvalidInputError
from sobirl.deep.envs import Discrete, EnvSpec
from sobirl.hypergrad import LeaderReturn
from sobirl.mdp import SoftMDP
from sobirl.mdp.rollouts import draw_states


class SimulatedTable(eqx.Module):
    """The lower level of a problem at x, to walk in.

    A step whose discount is 0 ends the episode.

    Args:
        problem: its lower level is a `SoftMDP`.
        x: the leader's.
        spec: the number of states and of actions.
    """

    problem: BilevelProblem
    x: PyTree
    spec: EnvSpec = eqx.field(static=True)

    def with_x(self, x: PyTree) -> "SimulatedTable":
        """The same problem at another x."""
        return SimulatedTable(self.problem, x, self.spec)

    def log_prob(
        self,
        next_observation: Float[Array, "S"],
        observation: Float[Array, "S"],
        action: Int[Array, ""],
        x: PyTree,
    ) -> Float[Array, ""]:
        """log P(s'|s,a) at x."""
        states = jnp.argmax(observation), action, jnp.argmax(next_observation)
        return jnp.log(_lower(self.problem, x).transition.probability(*states))

    def reset(self, key: Key[Array, ""]) -> tuple[Int[Array, ""], Float[Array, "S"]]:
        """A first state."""
        state = draw_states(key, _lower(self.problem, self.x).initial, ())
        return state, self._seen(state)

    def step(
        self, state: Int[Array, ""], action: Int[Array, ""], key: Key[Array, ""]
    ) -> tuple[Any, ...]:
        """A move, which pays nothing by itself."""
        mdp = _lower(self.problem, self.x)
        after = mdp.transition.sample(key, state, action).astype(state.dtype)
        ended = jnp.broadcast_to(mdp.discount, mdp.shape)[state, action] == 0
        return after, self._seen(after), jnp.zeros(()), ended, jnp.zeros((), bool)

    def _seen(self, state: Int[Array, ""]) -> Float[Array, "S"]:
        return jax.nn.one_hot(state, *self.spec.observation_shape, dtype=jnp.float32)


def simulated(problem: BilevelProblem, x0: PyTree, name: str = "table") -> dict[str, Any]:
    """What `design_incentives` takes, for a follower that learns in a problem of tables.

    Args:
        problem: without contexts; its lower level is a `SoftMDP`, its objective a `LeaderReturn`.
        x0: the first x.
        name: of the environment, in messages.

    Returns:
        `env`, `leader`, `incentive`, `x0`, both discounts and `temperature`, in single precision.

    Raises:
        InvalidInputError: the problem is of another kind, or a discount takes other values than 0
            and one more.
    """
    if problem.contexts is not None or not isinstance(problem.objective, LeaderReturn):
        raise InvalidInputError(
            "problem: must have no contexts and a LeaderReturn for its objective, which can be "
            "paid step by step"
        )
    mdp = problem.lower(x0)
    if not isinstance(mdp, SoftMDP) or mdp.reference_policy is not None:
        raise InvalidInputError(
            "problem: its lower level must be a SoftMDP without a reference policy"
        )
    states, actions = mdp.shape
    spec = EnvSpec(name, (states,), np.dtype(np.float32), Discrete(actions), "jax", numbered=True)
    discounts = {
        "discount": _one_discount("follower", mdp.discount),
        "leader_discount": _one_discount("leader", problem.objective.discount_table(mdp)),
    }
    temperature = float(mdp.temperature)
    with jax.enable_x64(False):
        problem, x0 = _single(problem), _single(x0)
    return {
        "env": SimulatedTable(problem, x0, spec),
        "incentive": _paid(lambda x: _lower(problem, x).reward),
        "leader": _earned(problem),
        "x0": x0,
        "temperature": temperature,
        **discounts,
    }


def _lower(problem: BilevelProblem, x: PyTree) -> SoftMDP:
    """The follower's tables, in whatever precision its constants were written."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* is float64 but JAX is set to float32")
        return problem.lower(x)


def _paid(table: Callable) -> Callable:
    def incentive(observation, action, x):
        return (observation @ table(x))[action]

    return incentive


def _earned(problem: BilevelProblem) -> Callable:
    def leader(observation, action, next_observation, x):
        objective: Any = problem.objective
        return (observation @ objective.reward_table(_lower(problem, x), x))[action]

    return leader


def _one_discount(whose: str, discount: Array) -> float:
    values = np.unique(np.asarray(discount))
    some = values[values > 0]
    if len(some) > 1:
        raise InvalidInputError(
            f"problem: the {whose}'s discount must be one number, and 0 where an episode ends; got "
            f"{len(some)} from {some.min():g} to {some.max():g}"
        )
    return float(some[0]) if len(some) else 0.0


def _single(tree: PyTree) -> PyTree:
    """Its arrays in single precision."""

    def single(leaf):
        if not eqx.is_inexact_array(leaf):
            return leaf
        return jnp.asarray(np.asarray(leaf), jnp.float32)

    return jax.tree.map(single, tree)
