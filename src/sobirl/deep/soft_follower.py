"""What followers with critics have in common: settings, target networks, temperature, Adam."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Num, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.deep.follower import RewardFunction
from sobirl.deep.losses import temperature_loss
from sobirl.deep.networks import Ensemble
from sobirl.experience.replay import Transitions


class SoftFollower(eqx.Module):
    """The settings of a maximum-entropy follower with twin critics, and how they are used.

    Args:
        shape: of an observation, its frames stacked.
        discount: γ.
        temperature: the entropy weight τ; None adjusts it so that the policy keeps its target
            entropy.
        initial_temperature: where an adjusted τ begins.
        target_entropy: H̄ in nats; by default a choice of the subclass.
        learning_rate: of all that is learned (Adam).
        decay_updates: over so many updates the learning rate falls linearly to 0; None keeps it.
        adam_eps: Adam's ε.
        target_rate: the target critics move by this share of the way at every update ...
        target_period: ... or are copied every so many updates, if given.
        widths: of the layers, where observations are vectors.
        reward_clip: rewards are clipped to ± this when the critics are trained; None does not.

    Raises:
        InvalidInputError: a number out of its range.
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
    def default_target_entropy(self) -> float:
        """H̄ in nats, where none is asked for."""

    @property
    def keeps_entropy(self) -> bool:
        """Whether τ is adjusted."""
        return self.temperature is None

    def seen(self, reward: Num[Array, "B"]) -> Num[Array, "B"]:
        """Rewards, clipped if that is asked for."""
        if self.reward_clip is None:
            return reward
        return jnp.clip(reward, -self.reward_clip, self.reward_clip)

    def temperature_of(self, state: PyTree) -> Float[Array, ""]:
        """τ as it is now."""
        return jnp.exp(state.log_temperature)

    def with_temperature(self, state: PyTree, temperature: Float[Array, ""]) -> PyTree:
        """The state with another τ; one that is adjusted goes on from there."""
        logarithm = jnp.log(temperature).astype(state.log_temperature.dtype)
        return eqx.tree_at(lambda s: s.log_temperature, state, logarithm)

    def _first_log_temperature(self) -> Float[Array, ""]:
        fixed = self.temperature if self.temperature is not None else self.initial_temperature
        return jnp.log(jnp.asarray(fixed, jnp.result_type(float)))

    def _adjust_temperature(
        self,
        log_temperature: Float[Array, ""],
        optimizer: PyTree,
        entropy: Float[Array, "B"],
        weight: Float[Array, "B"],
    ) -> tuple[Float[Array, ""], PyTree]:
        """log τ and its optimizer after a step towards the target entropy; a fixed τ stays."""
        if self.temperature is not None:
            return log_temperature, optimizer
        goal = self.target_entropy
        goal = self.default_target_entropy() if goal is None else goal
        gradient = jax.grad(temperature_loss)(log_temperature, entropy, goal, weight)
        return self._step(gradient, optimizer, log_temperature)

    def _rewards(self, batch: Transitions, reward: RewardFunction | None) -> Num[Array, "B"]:
        """The rewards that the critics learn on."""
        return self.seen(
            batch.reward if reward is None else reward(batch.observation, batch.action)
        )

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
        """The target critics after the critics have moved."""
        if self.target_period is None:
            return optax.incremental_update(critic, target, self.target_rate)
        return optax.periodic_update(critic, target, updates, self.target_period)
