"""Policies over finitely many actions: every expectation is a sum."""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Num, PyTree

from sobirl.deep.follower import ActionFunction


class DiscretePolicy(eqx.Module):
    """What a follower over `num_actions` actions makes of its log-policy.

    The target entropy is by default 0.89 log A, a policy not far from uniform, as in the
    experiments of Yang et al. (2025); problems that need a sharper policy want less.
    """

    num_actions: eqx.AbstractVar[int]

    @abc.abstractmethod
    def log_policy(self, state: PyTree, observation: Num[Array, "B *obs"]) -> Float[Array, "B A"]:
        """log π(·|s)."""

    def default_target_entropy(self) -> float:
        """0.89 log A."""
        return 0.89 * math.log(self.num_actions)

    def act(
        self, state: PyTree, observation: Num[Array, "B *obs"], key: Key[Array, ""]
    ) -> tuple[Int[Array, "B"], Float[Array, "B"]]:
        """Actions drawn from the policy, and their log-probabilities."""
        log_policy = self.log_policy(state, observation)
        action = jax.random.categorical(key, log_policy).astype(jnp.int32)
        return action, taken(log_policy, action)

    def mode(self, state: PyTree, observation: Num[Array, "B *obs"]) -> Int[Array, "B"]:
        """The most likely actions."""
        return jnp.argmax(self.log_policy(state, observation), axis=-1).astype(jnp.int32)

    def random_action(
        self, count: int, key: Key[Array, ""]
    ) -> tuple[Int[Array, "B"], Float[Array, "B"]]:
        """Uniformly random actions, and their log-probabilities."""
        action = jax.random.randint(key, (count,), 0, self.num_actions, jnp.int32)
        return action, jnp.full(count, -math.log(self.num_actions))

    def log_prob(
        self, state: PyTree, observation: Num[Array, "B *obs"], action: Int[Array, "B"]
    ) -> Float[Array, "B"]:
        """log π(a|s)."""
        return taken(self.log_policy(state, observation), action)

    def expectation(
        self,
        state: PyTree,
        observation: Num[Array, "B *obs"],
        function: ActionFunction,
        key: Key[Array, ""],
        samples: int = 1,
    ) -> Float[Array, "B"]:
        """Σ_a π(a|s) f(a), for which key and samples are not needed."""
        each = jnp.arange(self.num_actions, dtype=jnp.int32)[:, None]
        each = jnp.broadcast_to(each, (self.num_actions, len(observation)))
        policy = jax.lax.stop_gradient(jnp.exp(self.log_policy(state, observation)))
        return jnp.sum(policy * jax.vmap(function, out_axes=-1)(each), axis=-1)


def taken(table: Float[Array, "*K B A"], action: Int[Array, "B"]) -> Float[Array, "*K B"]:
    """The entries of the actions that were taken."""
    action = action.reshape(*(1,) * (table.ndim - 2), -1, 1)
    return jnp.take_along_axis(table, action, axis=-1)[..., 0]
