"""Soft Q-learning: a follower without an actor, whose policy is the softmax of its critic."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Num, PyTree

from sobirl.deep.discrete_policy import DiscretePolicy, taken
from sobirl.deep.follower import RewardFunction
from sobirl.deep.losses import critic_loss, soft_maximum, td_target
from sobirl.deep.networks import Ensemble, Network, architecture_for
from sobirl.deep.soft_follower import SoftFollower
from sobirl.experience.replay import Transitions


class SoftQState(eqx.Module):
    """Everything that learning goes on from.

    Attributes:
        critic: the twin critics.
        target: their slow copy.
        log_temperature: log τ.
        optimizers: the states of the optimizers of critics and temperature.
        updates: how many updates were made.
    """

    critic: Ensemble
    target: Ensemble
    log_temperature: Float[Array, ""]
    optimizers: tuple[PyTree, PyTree]
    updates: Int[Array, ""]


class SoftQLearning(DiscretePolicy, SoftFollower):
    """Soft Q-learning over `num_actions` actions: π(a|s) ∝ exp(Q(s,a)/τ), Q the lower of twins.

    The critics learn the soft Bellman equation, Q(s,a) = r + γ τ log Σ_a' exp(Q(s',a')/τ). With
    nothing else to learn a network less is needed than by soft actor-critic, and the policy is
    never behind its values; it moves with every change of theirs and of τ. Arguments are those of
    `SoftFollower`, and the target entropy is by default that of `DiscretePolicy`.

    Source: Haarnoja, Tang, Abbeel, Levine (2017), "Reinforcement Learning with Deep Energy-Based
    Policies", for discrete actions, with the lower of two critics as in Haarnoja et al. (2018).
    """

    num_actions: int = eqx.field(kw_only=True, static=True)

    def init(self, key: Key[Array, ""]) -> SoftQState:
        """Fresh critics."""
        critic, log_temperature = self._critics(key), self._first_log_temperature()
        return SoftQState(
            critic=critic,
            target=jax.tree.map(jnp.copy, critic),  # memory of its own, to be given away
            log_temperature=log_temperature,
            optimizers=(self._adam.init(critic), self._adam.init(log_temperature)),
            updates=jnp.zeros((), jnp.int32),
        )

    def log_policy(
        self, state: SoftQState, observation: Num[Array, "B *obs"]
    ) -> Float[Array, "B A"]:
        """log π(·|s)."""
        return _log_policy(state.critic(observation), self.temperature_of(state))

    def forget_values(self, state: SoftQState, key: Key[Array, ""]) -> SoftQState:
        """Fresh critics for another reward, and with them another policy; τ stays."""
        critic = self._critics(key)
        return eqx.tree_at(
            lambda s: (s.critic, s.target, s.optimizers),
            state,
            (
                critic,
                jax.tree.map(jnp.copy, critic),
                (self._adam.init(critic), state.optimizers[1]),
            ),
        )

    def value(
        self, state: SoftQState, observation: Num[Array, "B *obs"], key: Key[Array, ""]
    ) -> Float[Array, "B"]:
        """V(s), see `ValuedFollower`."""
        lower = jnp.min(state.target(observation), axis=0)
        return soft_maximum(lower, self.temperature_of(state))

    def update(
        self,
        state: SoftQState,
        batch: Transitions,
        reward: RewardFunction | None,
        key: Key[Array, ""],
    ) -> tuple[SoftQState, dict[str, Float[Array, ""]]]:
        """One update of critics and temperature, in which nothing is random; see `Follower`."""
        temperature = self.temperature_of(state)
        rewards, value = (
            self._rewards(batch, reward),
            self.value(state, batch.next_observation, key),
        )
        target = td_target(rewards, batch.terminated, value, self.discount)

        def of_critic(critic):
            q = critic(batch.observation)
            return critic_loss(taken(q, batch.action), target, batch.weight), q

        (loss, q), gradient = jax.value_and_grad(of_critic, has_aux=True)(state.critic)
        log_policy = _log_policy(q, temperature)
        entropy = -jnp.sum(jnp.exp(log_policy) * log_policy, axis=-1)
        critic_optimizer, temperature_optimizer = state.optimizers
        critic, critic_optimizer = self._step(gradient, critic_optimizer, state.critic)
        log_temperature, temperature_optimizer = self._adjust_temperature(
            state.log_temperature, temperature_optimizer, entropy, batch.weight
        )
        after = SoftQState(
            critic=critic,
            target=self._follow(state.target, critic, state.updates + 1),
            log_temperature=log_temperature,
            optimizers=(critic_optimizer, temperature_optimizer),
            updates=state.updates + 1,
        )
        metrics = {
            "critic_loss": loss,
            "q": jnp.mean(taken(q, batch.action)),
            "entropy": jnp.mean(entropy),
            "temperature": temperature,
        }
        return after, metrics

    def _critics(self, key: Key[Array, ""]) -> Ensemble:
        architecture = architecture_for(self.shape, self.widths)
        return Ensemble(
            2, lambda key: Network(self.shape, self.num_actions, key, architecture), key
        )


def _log_policy(q: Float[Array, "K B A"], temperature: Float[Array, ""]) -> Float[Array, "B A"]:
    """log softmax(Q/τ) of the lower critic."""
    return jax.nn.log_softmax(jnp.min(q, axis=0) / temperature)
