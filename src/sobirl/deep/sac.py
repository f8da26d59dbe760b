"""Soft actor-critic: what its discrete and its continuous form have in common."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, Num, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.deep.losses import critic_loss, td_target, temperature_loss
from sobirl.deep.networks import Ensemble, Network
from sobirl.experience.replay import Transitions

RewardFunction = Callable[[Num[Array, "B *obs"], Num[Array, "B *d"]], Float[Array, "B"]]


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


class SoftActorCritic(eqx.Module):
    """The maximum-entropy follower: the deep counterpart of `solve`.

    Args:
        shape: of an observation, its frames stacked.
        discount: γ.
        temperature: the entropy weight τ; None adjusts it so that the policy keeps its target
            entropy.
        initial_temperature: where an adjusted τ begins.
        target_entropy: H̄ in nats; by default a choice of the subclass.
        learning_rate: of actor, critics and temperature (Adam).
        decay_updates: over so many updates the learning rate falls linearly to 0; None keeps it.
        adam_eps: Adam's ε.
        target_rate: the target critics move by this share of the way at every update ...
        target_period: ... or are copied every so many updates, if given.
        widths: of the layers, where observations are vectors.
        reward_clip: rewards are clipped to ± this when the critics are trained; None does not.

    Raises:
        InvalidInputError: a number out of its range.

    Source: Haarnoja et al. (2018); Christodoulou (2019).
    """

    shape: tuple[int, ...] = eqx.field(static=True)
    discount: float = 0.99
    temperature: float | None = None
    initial_temperature: float = 1.0
    target_entropy: float | None = None
    learning_rate: float = 3e-4
    decay_updates: int | None = eqx.field(default=None, static=True)
    adam_eps: float = eqx.field(default=1e-8, static=True)
    target_rate: float = 0.005
    target_period: int | None = eqx.field(default=None, static=True)
    widths: tuple[int, ...] = eqx.field(default=(256, 256), static=True)
    reward_clip: float | None = None

    def __check_init__(self):
        for name, holds in (
            ("discount", 0 <= self.discount < 1),
            ("temperature", self.temperature is None or self.temperature > 0),
            ("initial_temperature", self.initial_temperature > 0),
            ("learning_rate", self.learning_rate > 0),
            ("target_rate", 0 < self.target_rate <= 1),
            ("target_period", self.target_period is None or self.target_period >= 1),
            ("decay_updates", self.decay_updates is None or self.decay_updates >= 1),
            ("reward_clip", self.reward_clip is None or self.reward_clip > 0),
        ):
            if not holds:
                raise InvalidInputError(f"{name}: out of its range, got {getattr(self, name)}")

    @abc.abstractmethod
    def networks(self, key: Key[Array, ""]) -> tuple[Network, Ensemble]:
        """A fresh actor and fresh critics."""

    @abc.abstractmethod
    def default_target_entropy(self) -> float:
        """H̄ in nats, where none is asked for."""

    @abc.abstractmethod
    def act(
        self, actor: Network, observation: Num[Array, "B *obs"], key: Key[Array, ""]
    ) -> tuple[Num[Array, "B *d"], Float[Array, "B"]]:
        """Actions drawn from the policy, and their log-probabilities."""

    @abc.abstractmethod
    def random_action(
        self, count: int, key: Key[Array, ""]
    ) -> tuple[Num[Array, "B *d"], Float[Array, "B"]]:
        """Uniformly random actions, and their log-probabilities."""

    @abc.abstractmethod
    def mode(self, actor: Network, observation: Num[Array, "B *obs"]) -> Num[Array, "B *d"]:
        """The most likely actions."""

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
        fixed = self.temperature if self.temperature is not None else self.initial_temperature
        log_temperature = jnp.log(jnp.asarray(fixed, jnp.result_type(float)))
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

    def update(
        self,
        state: SACState,
        batch: Transitions,
        reward: RewardFunction | None,
        key: Key[Array, ""],
    ) -> tuple[SACState, dict[str, Float[Array, ""]]]:
        """One update of critics, actor and temperature.

        Args:
            state: what was learned so far.
            batch: transitions.
            reward: `reward(observation, action)` (B,), reckoned anew for the batch; None takes the
                environment's own.
            key: for the sampled actions.
        """
        value_key, policy_key = jax.random.split(key)
        temperature = jnp.exp(state.log_temperature)
        rewards = batch.reward if reward is None else reward(batch.observation, batch.action)
        if self.reward_clip is not None:
            rewards = jnp.clip(rewards, -self.reward_clip, self.reward_clip)
        value = self.next_value(state, batch.next_observation, temperature, value_key)
        target = td_target(rewards, batch.terminated, value, self.discount)

        def of_critic(critic):
            q = self.taken(critic, batch.observation, batch.action)
            return critic_loss(q, target, batch.weight), q

        def of_actor(actor):
            return self.policy_loss(actor, state.critic, batch, temperature, policy_key)

        def of_temperature(log_temperature):
            goal = self.target_entropy
            goal = self.default_target_entropy() if goal is None else goal
            return temperature_loss(log_temperature, entropy, goal, batch.weight)

        (critic_value, q), critic_gradient = jax.value_and_grad(of_critic, has_aux=True)(
            state.critic
        )
        (_, entropy), actor_gradient = jax.value_and_grad(of_actor, has_aux=True)(state.actor)
        actor_optimizer, critic_optimizer, temperature_optimizer = state.optimizers
        actor, actor_optimizer = self._step(actor_gradient, actor_optimizer, state.actor)
        critic, critic_optimizer = self._step(critic_gradient, critic_optimizer, state.critic)
        log_temperature = state.log_temperature
        if self.temperature is None:
            log_temperature, temperature_optimizer = self._step(
                jax.grad(of_temperature)(log_temperature), temperature_optimizer, log_temperature
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

    @property
    def _adam(self) -> optax.GradientTransformation:
        rate = self.learning_rate
        if self.decay_updates is not None:
            rate = optax.linear_schedule(rate, 0.0, self.decay_updates)
        return optax.adam(rate, eps=self.adam_eps)

    def _step(self, gradient: PyTree, optimizer: PyTree, tree: PyTree) -> tuple[PyTree, PyTree]:
        updates, optimizer = self._adam.update(gradient, optimizer, tree)
        return optax.apply_updates(tree, updates), optimizer

    def _follow(self, target: Ensemble, critic: Ensemble, updates: Int[Array, ""]) -> Ensemble:
        if self.target_period is None:
            return optax.incremental_update(critic, target, self.target_rate)
        return optax.periodic_update(critic, target, updates, self.target_period)
