"""Soft actor-critic for discrete actions: every expectation over actions is a sum."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Num

from sobirl.deep.discrete_policy import DiscretePolicy, taken
from sobirl.deep.losses import actor_loss, soft_value
from sobirl.deep.networks import Ensemble, Network, architecture_for
from sobirl.deep.sac import SACState, SoftActorCritic
from sobirl.experience.replay import Transitions


class DiscreteSAC(DiscretePolicy, SoftActorCritic):
    """SAC with a softmax policy over `num_actions` actions.

    Arguments are those of `SoftFollower`, and the target entropy is by default that of
    `DiscretePolicy`.

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

    def log_policy(self, state: SACState, observation: Num[Array, "B *obs"]) -> Float[Array, "B A"]:
        """log π(·|s)."""
        return _log_policy(state.actor, observation)

    def next_value(
        self,
        state: SACState,
        observation: Num[Array, "B *obs"],
        temperature: Float[Array, ""],
        key: Key[Array, ""],
    ) -> Float[Array, "B"]:
        """V(s') of the lower target critic, summed over actions."""
        q = jnp.min(state.target(observation), axis=0)
        return soft_value(q, self.log_policy(state, observation), temperature)

    def taken(
        self, critic: Ensemble, observation: Num[Array, "B *obs"], action: Int[Array, "B"]
    ) -> Float[Array, "K B"]:
        """Q_k(s,a) of the actions that were taken."""
        return taken(critic(observation), action)

    def policy_loss(
        self,
        actor: Network,
        critic: Ensemble,
        batch: Transitions,
        temperature: Float[Array, ""],
        key: Key[Array, ""],
    ) -> tuple[Float[Array, ""], Float[Array, "B"]]:
        """The actor's loss, and the entropy of the policy (B,)."""
        log_policy = _log_policy(actor, batch.observation)
        q = jnp.min(critic(batch.observation), axis=0)
        entropy = -jnp.sum(jnp.exp(log_policy) * log_policy, axis=-1)
        return actor_loss(q, log_policy, temperature, batch.weight), entropy


def _log_policy(actor: Network, observation: Num[Array, "B *obs"]) -> Float[Array, "B A"]:
    return jax.nn.log_softmax(jax.vmap(actor)(observation))
