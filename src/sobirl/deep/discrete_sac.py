"""Soft actor-critic for discrete actions: every expectation over actions is a sum."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Num

from sobirl.deep.losses import actor_loss, soft_value
from sobirl.deep.networks import Ensemble, Network, architecture_for
from sobirl.deep.sac import SACState, SoftActorCritic
from sobirl.experience.replay import Transitions


class DiscreteSAC(SoftActorCritic):
    """SAC with a softmax policy over `num_actions` actions.

    The target entropy is by default 0.89 log A, a policy not far from uniform, as in the
    experiments of Yang et al. (2025); problems that need a sharper policy want less.

    Source: Christodoulou (2019), "Soft Actor-Critic for Discrete Action Settings".
    """

    num_actions: int = eqx.field(kw_only=True, static=True)

    def networks(self, key: Key[Array, ""]) -> tuple[Network, Ensemble]:
        """An actor with a logit, and twin critics with a value, for every action."""

        def make(key):
            architecture = architecture_for(self.shape, self.widths)
            return Network(self.shape, self.num_actions, key, architecture)

        actor_key, critic_key = jax.random.split(key)
        return make(actor_key), Ensemble(2, make, critic_key)

    def default_target_entropy(self) -> float:
        """0.89 log A."""
        return 0.89 * math.log(self.num_actions)

    def log_policy(self, actor: Network, observation: Num[Array, "B *obs"]) -> Float[Array, "B A"]:
        """log π(·|s)."""
        return jax.nn.log_softmax(jax.vmap(actor)(observation))

    def act(
        self, actor: Network, observation: Num[Array, "B *obs"], key: Key[Array, ""]
    ) -> tuple[Int[Array, "B"], Float[Array, "B"]]:
        """Actions drawn from the policy, and their log-probabilities."""
        log_policy = self.log_policy(actor, observation)
        action = jax.random.categorical(key, log_policy).astype(jnp.int32)
        return action, jnp.take_along_axis(log_policy, action[:, None], axis=-1)[:, 0]

    def random_action(
        self, count: int, key: Key[Array, ""]
    ) -> tuple[Int[Array, "B"], Float[Array, "B"]]:
        """Uniformly random actions, and their log-probabilities."""
        action = jax.random.randint(key, (count,), 0, self.num_actions, jnp.int32)
        return action, jnp.full(count, -math.log(self.num_actions))

    def mode(self, actor: Network, observation: Num[Array, "B *obs"]) -> Int[Array, "B"]:
        """The most likely actions."""
        return jnp.argmax(self.log_policy(actor, observation), axis=-1).astype(jnp.int32)

    def next_value(
        self,
        state: SACState,
        observation: Num[Array, "B *obs"],
        temperature: Float[Array, ""],
        key: Key[Array, ""],
    ) -> Float[Array, "B"]:
        """V(s') of the lower target critic, summed over actions."""
        q = jnp.min(state.target(observation), axis=0)
        return soft_value(q, self.log_policy(state.actor, observation), temperature)

    def taken(
        self, critic: Ensemble, observation: Num[Array, "B *obs"], action: Int[Array, "B"]
    ) -> Float[Array, "K B"]:
        """Q_k(s,a) of the actions that were taken."""
        return jnp.take_along_axis(critic(observation), action[None, :, None], axis=-1)[..., 0]

    def policy_loss(
        self,
        actor: Network,
        critic: Ensemble,
        batch: Transitions,
        temperature: Float[Array, ""],
        key: Key[Array, ""],
    ) -> tuple[Float[Array, ""], Float[Array, "B"]]:
        """The actor's loss, and the entropy of the policy (B,)."""
        log_policy = self.log_policy(actor, batch.observation)
        q = jnp.min(critic(batch.observation), axis=0)
        entropy = -jnp.sum(jnp.exp(log_policy) * log_policy, axis=-1)
        return actor_loss(q, log_policy, temperature, batch.weight), entropy
