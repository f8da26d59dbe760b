"""What the follower's policy is worth to the leader: critics of the leader's own."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.deep.follower import Follower
from sobirl.deep.losses import critic_loss, td_target
from sobirl.deep.networks import Architecture
from sobirl.deep.reward_model import RewardModel
from sobirl.experience.replay import Transitions


class CriticState(eqx.Module):
    """Everything that learning goes on from.

    Attributes:
        model: Q_u, the mean of its members.
        target: its slow copy.
        optimizer: the state of Adam.
    """

    model: RewardModel
    target: RewardModel
    optimizer: PyTree


class LeaderCritic(eqx.Module):
    """Q_u(s,a) = E[Σ_t γ_u^t r_u | s,a] of the follower's policy, which has no entropy in it.

    It is learned like the follower's critics and from the same replay: y = r_u + γ_u E_π Q̄_u(s',·)
    with the present policy, whoever made the transition.

    Args:
        shape: of an observation, its frames stacked.
        discount: γ_u.
        num_actions: A, for discrete actions ...
        action_size: ... or d, for continuous ones.
        architecture: of the networks; the usual one for the shape by default.
        members: networks whose mean is taken.
        learning_rate: of Adam.
        target_rate: the target moves by this share of the way at every update.
        actions: how many actions stand for E_π, where they are continuous.

    Raises:
        InvalidInputError: a number out of its range.
    """

    shape: tuple[int, ...] = eqx.field(static=True)
    discount: float = 0.99
    num_actions: int | None = eqx.field(default=None, static=True)
    action_size: int | None = eqx.field(default=None, static=True)
    architecture: Architecture | None = eqx.field(default=None, static=True)
    members: int = eqx.field(default=2, static=True)
    learning_rate: float = 3e-4
    target_rate: float = 0.005
    actions: int = eqx.field(default=2, static=True)

    def __check_init__(self):
        for name, holds in (
            ("discount", 0 <= self.discount < 1),
            ("learning_rate", self.learning_rate > 0),
            ("target_rate", 0 < self.target_rate <= 1),
            ("members", self.members >= 1),
            ("actions", self.actions >= 1),
        ):
            if not holds:
                raise InvalidInputError(f"{name}: out of its range, got {getattr(self, name)}")

    def init(self, key: Key[Array, ""]) -> CriticState:
        """Fresh networks."""
        model = RewardModel(
            self.shape,
            key,
            num_actions=self.num_actions,
            action_size=self.action_size,
            members=self.members,
            architecture=self.architecture,
        )
        target = jax.tree.map(jnp.copy, model)  # memory of its own, to be given away
        return CriticState(model, target, self._adam.init(model))

    def update(
        self,
        state: CriticState,
        batch: Transitions,
        reward: Float[Array, "B"],
        follower: Follower,
        policy: PyTree,
        key: Key[Array, ""],
    ) -> tuple[CriticState, dict[str, Float[Array, ""]]]:
        """One step towards y.

        Args:
            state: before it.
            batch: transitions ...
            reward: ... and their r_u.
            follower: how the policy is read of ...
            policy: ... what it has learned.
            key: for sampled actions.
        """
        after = batch.next_observation
        value = follower.expectation(policy, after, state.target.at(after), key, self.actions)
        target = td_target(reward, batch.terminated, value, self.discount)

        def loss(model):
            q = model.members(batch.observation, batch.action)
            return critic_loss(q, target, batch.weight)

        found, gradient = jax.value_and_grad(loss)(state.model)
        updates, optimizer = self._adam.update(gradient, state.optimizer, state.model)
        model = optax.apply_updates(state.model, updates)
        slow = optax.incremental_update(model, state.target, self.target_rate)
        return CriticState(model, slow, optimizer), {"leader_critic_loss": found}

    @property
    def _adam(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)
