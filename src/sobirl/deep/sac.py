"""Soft actor-critic: what its discrete and its continuous form have in common."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Num, PyTree

from sobirl.deep.follower import RewardFunction
from sobirl.deep.losses import critic_loss, td_target
from sobirl.deep.networks import Ensemble, Network
from sobirl.deep.soft_follower import SoftFollower
from sobirl.experience.replay import Transitions


class SACState(eqx.Module):
    """Everything that learning goes on from.

    Attributes:
        actor: the policy's network.
        critic: the twin critics.
        target: their slow copy.
        log_temperature: log τ.
        optimizers: the states of the three optimizers.
        updates: how many updates were made.
    """

    actor: Network
    critic: Ensemble
    target: Ensemble
    log_temperature: Float[Array, ""]
    optimizers: tuple[PyTree, PyTree, PyTree]
    updates: Int[Array, ""]


class SoftActorCritic(SoftFollower):
    """The follower that has a network for its policy beside its critics.

    Source: Haarnoja et al. (2018); Christodoulou (2019).
    """

    @abc.abstractmethod
    def networks(self, key: Key[Array, ""]) -> tuple[Network, Ensemble]:
        """A fresh actor and fresh critics."""

    @abc.abstractmethod
    def next_value(
        self,
        state: SACState,
        observation: Num[Array, "B *obs"],
        temperature: Float[Array, ""],
        key: Key[Array, ""],
    ) -> Float[Array, "B"]:
        """V(s') of the target critics under the policy."""

    @abc.abstractmethod
    def taken(
        self, critic: Ensemble, observation: Num[Array, "B *obs"], action: Num[Array, "B *d"]
    ) -> Float[Array, "K B"]:
        """Q_k(s,a) of the actions that were taken."""

    @abc.abstractmethod
    def policy_loss(
        self,
        actor: Network,
        critic: Ensemble,
        batch: Transitions,
        temperature: Float[Array, ""],
        key: Key[Array, ""],
    ) -> tuple[Float[Array, ""], Float[Array, "B"]]:
        """The actor's loss, and the entropy of the policy (B,)."""

    def init(self, key: Key[Array, ""]) -> SACState:
        """Fresh networks."""
        actor, critic = self.networks(key)
        log_temperature = self._first_log_temperature()
        return SACState(
            actor=actor,
            critic=critic,
            target=jax.tree.map(jnp.copy, critic),  # memory of its own, to be given away
            log_temperature=log_temperature,
            optimizers=tuple(self._adam.init(tree) for tree in (actor, critic, log_temperature)),
            updates=jnp.zeros((), jnp.int32),
        )

    def forget_values(self, state: SACState, key: Key[Array, ""]) -> SACState:
        """Fresh critics for another reward; the policy stays."""
        _, critic = self.networks(key)
        actor_optimizer, _, temperature_optimizer = state.optimizers
        optimizers = actor_optimizer, self._adam.init(critic), temperature_optimizer
        return eqx.tree_at(
            lambda s: (s.critic, s.target, s.optimizers),
            state,
            (critic, jax.tree.map(jnp.copy, critic), optimizers),
        )

    def value(
        self, state: SACState, observation: Num[Array, "B *obs"], key: Key[Array, ""]
    ) -> Float[Array, "B"]:
        """V(s), see `ValuedFollower`."""
        return self.next_value(state, observation, self.temperature_of(state), key)

    def update(
        self,
        state: SACState,
        batch: Transitions,
        reward: RewardFunction | None,
        key: Key[Array, ""],
    ) -> tuple[SACState, dict[str, Float[Array, ""]]]:
        """One update of critics, actor and temperature, see `Follower`."""
        value_key, policy_key = jax.random.split(key)
        temperature = self.temperature_of(state)
        rewards = self._rewards(batch, reward)
        value = self.next_value(state, batch.next_observation, temperature, value_key)
        target = td_target(rewards, batch.terminated, value, self.discount)

        def of_critic(critic):
            q = self.taken(critic, batch.observation, batch.action)
            return critic_loss(q, target, batch.weight), q

        def of_actor(actor):
            return self.policy_loss(actor, state.critic, batch, temperature, policy_key)

        (critic_value, q), critic_gradient = jax.value_and_grad(of_critic, has_aux=True)(
            state.critic
        )
        (_, entropy), actor_gradient = jax.value_and_grad(of_actor, has_aux=True)(state.actor)
        actor_optimizer, critic_optimizer, temperature_optimizer = state.optimizers
        actor, actor_optimizer = self._step(actor_gradient, actor_optimizer, state.actor)
        critic, critic_optimizer = self._step(critic_gradient, critic_optimizer, state.critic)
        log_temperature, temperature_optimizer = self._adjust_temperature(
            state.log_temperature, temperature_optimizer, entropy, batch.weight
        )
        after = SACState(
            actor=actor,
            critic=critic,
            target=self._follow(state.target, critic, state.updates + 1),
            log_temperature=log_temperature,
            optimizers=(actor_optimizer, critic_optimizer, temperature_optimizer),
            updates=state.updates + 1,
        )
        metrics = {
            "critic_loss": critic_value,
            "q": jnp.mean(q),
            "entropy": jnp.mean(entropy),
            "temperature": temperature,
        }
        return after, metrics
