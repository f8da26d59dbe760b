"""An objective of the critics: that what they think of fragments explains the answers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.deep.follower import FollowerView
from sobirl.deep.leaders.preferences import PreferenceState, Seen, cross_entropy
from sobirl.deep.losses import weighted_mean
from sobirl.deep.reward_learning import RewardLearner
from sobirl.deep.reward_model import RewardModel
from sobirl.deep.sac import SoftActorCritic
from sobirl.experience import Fragment, flat_steps
from sobirl.prefs import Labelled, fragment_return, preference_logit, preference_loss

_TINY = 1e-8


class MetaReward(eqx.Module):
    """f(x,Q) = the cross-entropy of the answers by r_x + λ that by the critics' Q in its place.

    The implicit term follows the second part through one step of the critics, θ' = θ - ∇_θ J with
    J = E Σ_k (Q_k - y)²/2 and ∂y/∂x = ∂r_x/∂x:

        λ E Σ_k <∂L/∂θ, ∂Q_k(s,a)/∂θ> ∂r_x(s,a)/∂x.

    A reward is raised where higher values would explain the answers better. L is the cross-entropy
    of σ((Q(d_1) - Q(d_2))/T), Q(d) the sum of the critics' mean over the fragment's steps; the
    expectation is over fresh fragments. ∂L/∂θ is that before the step, which is as good to first
    order. How far x follows it, is left to `RewardLearner`.

    Args:
        rewards: the loss, and how it is fitted.
        weight: λ.

    Raises:
        InvalidInputError: the weight is negative.

    Source: Liu, Bai, Du, Yang (2022), "Meta-Reward-Net". There the step's length is the critics'
    learning rate, and the reward takes the outer step with an optimizer of its own.
    """

    rewards: RewardLearner = RewardLearner()
    weight: float = 1.0

    def __check_init__(self):
        if self.weight < 0:
            raise InvalidInputError(f"weight: must not be negative, got {self.weight}")

    @property
    def score(self) -> None:
        """No scores of actions: critics say what these are worth."""

    def terms(
        self, state: PreferenceState, view: FollowerView, fragments: Fragment, key: Key[Array, ""]
    ) -> tuple[RewardModel, RewardModel, dict[str, Float[Array, ""]]]:
        """The explicit and the implicit term; see `Leader`.

        Returns:
            both terms, and the `implicit_agreement`, the cosine between the estimates from two
            halves of the answers and of the streams.

        Raises:
            InvalidInputError: the follower has no critics of actions, or there are fewer than two
                streams.
        """
        follower, critic = view.follower, view.state.critic
        if not isinstance(follower, SoftActorCritic):
            raise InvalidInputError("follower: an actor and critics of its actions are needed")
        streams = len(fragments.mask)
        if streams < 2:
            raise InvalidInputError(f"fragments: two streams are needed, got {streams}")
        explicit = jax.grad(cross_entropy, argnums=1)(
            self.rewards, state.reward.model, state.labelled
        )
        observation, action = flat_steps(fragments)
        mask = fragments.mask.astype(jnp.result_type(float))
        half = (jnp.arange(streams) % 2 == jnp.arange(2)[:, None])[:, :, None, None]

        def of_half(number, own):
            answered = eqx.tree_at(lambda a: a.number, state.labelled, number)
            slope = jax.grad(self._critics_loss, argnums=1)(follower, critic, answered)
            # <∂L/∂θ, ∂Q_k/∂θ> of every step, in one pass forward.
            _, moves = jax.jvp(
                lambda critic: follower.taken(critic, observation, action), (critic,), (slope,)
            )
            weight = (own * mask).reshape(-1)
            return jnp.sum(moves, axis=0) * weight / jnp.maximum(jnp.sum(weight), 1)

        number = state.labelled.number
        parity = jnp.arange(len(number)) % 2 == jnp.arange(2)[:, None]
        weight = jnp.stack([of_half(jnp.where(parity[n], number, -1), half[n]) for n in range(2)])
        weight = jax.lax.stop_gradient(self.weight * weight)

        def estimates(model):
            seen = Seen(eqx.tree_at(lambda r: r.model, state.reward, model), follower)
            return weight @ seen(observation, action)

        both = jax.jacrev(estimates)(state.reward.model)
        first, second = (jax.tree.map(lambda leaf, n=n: leaf[n], both) for n in range(2))
        lengths = optax.tree.norm(first) * optax.tree.norm(second)
        agreement = optax.tree.vdot(first, second) / jnp.maximum(lengths, _TINY)
        implicit = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), both)
        return explicit, implicit, {"implicit_agreement": agreement}

    def _critics_loss(
        self, follower: SoftActorCritic, critic: PyTree, batch: Labelled
    ) -> Float[Array, ""]:
        """L."""
        q = jnp.mean(follower.taken(critic, *flat_steps(batch.pair)), axis=0)
        mask = batch.pair.mask
        returns = fragment_return(q.reshape(mask.shape), mask, self.rewards.discount)
        logit = preference_logit(returns[..., 0], returns[..., 1], self.rewards.temperature)
        loss = preference_loss(logit, batch.label, self.rewards.noise)
        holds = (batch.number >= 0).astype(loss.dtype)
        return weighted_mean(loss, holds)
