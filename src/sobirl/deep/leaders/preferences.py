"""What leaders that learn from comparisons have in common: how weighted fragments make a term.

The implicit term of an objective E l over fragments d of the policy is E Σ w(d) ∇log π(d), with
weights that say how much each fragment counts. Nobody has been asked about most fragments: the
reward ensemble labels them, and where people were asked, the difference that their answers make to
the weights is added (prediction-powered inference), so that the mean does not depend on how
good the ensemble is.

Source: Yang, Gao, Yuan (2025), proposition 4; Angelopoulos et al. (2023), "Prediction-Powered
Inference".
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Key, Num

from sobirl.core.errors import InvalidInputError
from sobirl.deep.follower import ActionFunction, Follower, FollowerView
from sobirl.deep.losses import weighted_mean
from sobirl.deep.normalized_reward import NormalizedReward
from sobirl.deep.policy_score import PolicyScore
from sobirl.deep.reward_learning import RewardLearner
from sobirl.deep.reward_model import RewardModel
from sobirl.experience import Fragment, flat_steps
from sobirl.prefs import Labelled, fragment_return, preference_loss, preference_probability

_TINY = 1e-8


class PreferenceState(eqx.Module):
    """What a leader knows that learns from comparisons.

    Attributes:
        reward: x, and how critics see it.
        labelled: pairs to estimate the explicit term from (B,).
        answered: pairs that the present policy made, about which someone was asked and to which x
            was not fitted yet (n,).
        reference: fragments of another policy, to be compared with (R,).
        judges: rewards fitted to the same answers, to label fragments in the place of x itself.
    """

    reward: NormalizedReward
    labelled: Labelled
    answered: Labelled
    reference: Fragment | None = None
    judges: RewardModel | None = None

    @property
    def labeler(self) -> RewardModel:
        """Who labels fragments about which nobody was asked."""
        return self.reward.model if self.judges is None else self.judges


class PreferenceLeader(eqx.Module):
    """A leader whose explicit term is that of the cross-entropy, as `RewardLearner` has it.

    Args:
        rewards: the loss, and how it is fitted.
        score: how the scores of fragments are estimated.
        weight: a factor of the implicit term.
        baseline: subtract from what a fragment counts the mean over fragments that are independent
            of it, which leaves the mean as it is, for a score has mean zero.
        correction: the share of what answers say against the ensemble's labels: 1 has no bias, 0
            the least variance.

    Raises:
        InvalidInputError: a number out of its range.
    """

    rewards: RewardLearner = RewardLearner()
    score: PolicyScore = PolicyScore()
    weight: float | Float[Array, ""] = 1.0
    baseline: bool = eqx.field(default=True, static=True)
    correction: float | Float[Array, ""] = 1.0

    def __check_init__(self):
        if not 0 <= self.correction <= 1:
            raise InvalidInputError(f"correction: must be between 0 and 1, got {self.correction}")
        if self.weight < 0:
            raise InvalidInputError(f"weight: must not be negative, got {self.weight}")

    @abc.abstractmethod
    def weights(self, state: PreferenceState, fragments: Fragment) -> Float[Array, "N M"]:
        """w of fragments (N,M), labelled by the ensemble."""

    @abc.abstractmethod
    def corrections(self, state: PreferenceState) -> Float[Array, "n 2"]:
        """w of the answered pairs' fragments: what it is by the answers, less by the ensemble."""

    def terms(
        self, state: PreferenceState, view: FollowerView, fragments: Fragment, key: Key[Array, ""]
    ) -> tuple[RewardModel, RewardModel, dict[str, Float[Array, ""]]]:
        """The explicit and the implicit term; see `Leader`.

        Streams and answered pairs are two halves, from either of which comes an estimate. How the
        temperature moves is taken from the other half, for a product of two estimates from the same
        fragments would be biased.

        Returns:
            both terms, and the `implicit_agreement`, the cosine between the halves' estimates.

        Raises:
            InvalidInputError: there are fewer than four streams.
        """
        streams, each = fragments.mask.shape[:2]
        if streams < 4:
            raise InvalidInputError(f"fragments: four streams are needed, got {streams}")
        explicit = jax.grad(cross_entropy, argnums=1)(
            self.rewards, state.reward.model, state.labelled
        )
        half = streams // 2
        halves = jax.tree.map(
            lambda leaf: leaf[: 2 * half].reshape(2, half, *leaf.shape[1:]), fragments
        )
        asked = self.correction * self.corrections(state)
        fresh = jax.vmap(self.weights, (None, 0))(state, halves).reshape(2, -1)
        # Which fragments are of which half; of the answered pairs every other one.
        own = jnp.kron(jnp.eye(2), jnp.ones(half * each))
        parity = jnp.arange(len(asked)) % 2 == jnp.arange(2)[:, None]
        asked = 2 * parity[..., None] * asked
        weight = jnp.concatenate([own * fresh.reshape(-1), asked.reshape(2, -1)], axis=1)
        others = jnp.pad(own[::-1], ((0, 0), (0, asked[0].size)))
        every = jax.tree.map(
            lambda a, b: jnp.concatenate(
                [a.reshape(-1, *a.shape[3:]), b.reshape(-1, *b.shape[2:])]
            ),
            halves,
            state.answered.pair,
        )
        weight, others = jax.lax.stop_gradient((self.weight * weight, others))

        def estimates(model):
            reward = Seen(eqx.tree_at(lambda r: r.model, state.reward, model), view.follower)
            scores = self.score.scores(reward, view, every, key)
            found = weight @ scores.rewards
            if view.follower.keeps_entropy:
                moves = (others @ scores.covariance) / _apart_from_0(others @ scores.variance)
                found -= (weight @ scores.logits) * moves
            return found / view.follower.temperature_of(view.state)

        # Where the weights are fixed numbers, so is the factor of the temperature's move.
        both = jax.jacrev(estimates)(state.reward.model)
        first, second = (jax.tree.map(lambda leaf, n=n: leaf[n], both) for n in range(2))
        lengths = optax.tree.norm(first) * optax.tree.norm(second)
        agreement = optax.tree.vdot(first, second) / jnp.maximum(lengths, _TINY)
        implicit = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), both)
        return explicit, implicit, {"implicit_agreement": agreement}

    def returns(self, model: RewardModel, fragments: Fragment) -> Float[Array, "K *B"]:
        """What every member of a reward thinks that fragments (*B,) are worth."""
        reward = model.members(*flat_steps(fragments))
        reward = reward.reshape(-1, *fragments.mask.shape)
        mask = jnp.broadcast_to(fragments.mask, reward.shape)
        return fragment_return(reward, mask, self.rewards.discount)

    def labelled(
        self,
        state: PreferenceState,
        fragments: Fragment,
        pairs: Callable[[Float[Array, "K *B"]], Float[Array, "K *C"]],
    ) -> tuple[Float[Array, "K *C"], Float[Array, "K *C"]]:
        """The logits of pairs of fragments, and their labels, for every member of x.

        A label is what the judges say in the mean, or without judges what the other members say; if
        there is only one it is its own.

        Args:
            state: the reward and the judges.
            fragments: (*B,).
            pairs: the differences of returns that are wanted, from those of all fragments.
        """
        logit, opinion = (
            pairs(self.returns(model, fragments)) / self.rewards.temperature
            for model in (state.reward.model, state.labeler)
        )
        label = preference_probability(opinion, self.rewards.noise)
        if state.judges is not None:
            return logit, jnp.broadcast_to(jnp.mean(label, axis=0), logit.shape)
        if len(label) > 1:
            label = (jnp.sum(label, axis=0) - label) / (len(label) - 1)
        return logit, label


def cross_entropy(rewards: RewardLearner, model: RewardModel, batch: Labelled) -> Float[Array, ""]:
    """Its mean over labelled pairs and the members."""
    logits = rewards.logits(model, batch.pair)
    loss = jax.vmap(lambda logit: preference_loss(logit, batch.label, rewards.noise))
    weight = (batch.number >= 0).astype(batch.label.dtype)
    return weighted_mean(jnp.mean(loss(logits), axis=0), weight)


class Seen(eqx.Module):
    """A reward as the critics of a follower see it."""

    reward: NormalizedReward
    follower: Follower

    def __call__(
        self, observation: Num[Array, "B *obs"], action: Num[Array, "B *d"]
    ) -> Float[Array, "B"]:
        """The reward of every pair of observation and action."""
        return self.follower.seen(self.reward(observation, action))

    def at(self, observation: Num[Array, "B *obs"]) -> ActionFunction:
        """The same as a function of actions alone."""
        reward = self.reward.at(observation)
        return lambda action: self.follower.seen(reward(action))


def counts(fragments: Fragment) -> Bool[Array, "*B"]:
    """Which fragments have a step (*B,)."""
    return jnp.any(fragments.mask, axis=-1)


def mean_of_others(values: Float[Array, "N M"], holds: Bool[Array, "N M"]) -> Float[Array, "N 1"]:
    """The mean over all other streams, where there is something that holds."""
    total, count = (jnp.sum(leaf, axis=1) for leaf in (jnp.where(holds, values, 0), holds))
    others = jnp.sum(total) - total, jnp.sum(count) - count
    return (others[0] / jnp.maximum(others[1], 1))[:, None]


def _apart_from_0(value: Float[Array, "..."]) -> Float[Array, "..."]:
    """A divisor; where a policy has no entropy to keep nothing moves."""
    return jnp.where(value > _TINY, value, jnp.inf)
