"""The implicit term of the hyper-gradient: how the comparisons' data move with the reward.

The loss of the reward is l(d_1,d_2; x), averaged over fragments of the follower's own policy, which
the reward has shaped. Its gradient has a second term,

    1/τ E[(l - b) Σ_i Σ_h (∇Q*(s_h^i,a_h^i) - ∇V*(s_h^i))],

which plain learning from preferences leaves out. Both ∇Q* and ∇V* are discounted sums of ∇r, so
that the term is the gradient of a weighted sum of rewards: one backward pass.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sobirl.core.errors import InvalidInputError
from sobirl.deep.follower import FollowerView
from sobirl.deep.reward_model import RewardModel
from sobirl.deep.tails import tail_steps, tails
from sobirl.experience import Fragment, flat_steps
from sobirl.hypergrad.score import Horizon, check_horizon, score_weights


class ImplicitTerm(eqx.Module):
    """The implicit term, with as much of what follows a step as is asked for.

    Args:
        weight: a factor of the term; 1 is the hyper-gradient's own.
        baseline: subtract from each l the mean of the others.
        actions: how many actions stand for the expectation, where they are continuous; more cost
            time and gain little, for most of the variance is in the batch.
        off_policy: what to do about fragments of older policies. "none" takes them as they are;
            "recent" leaves out those older than `recent` steps, which has less data but little
            bias; "importance" weighs each by how much likelier today's policy makes its actions,
            at most `largest`, which has no bias but for that bound and the first states, and much
            variance for long fragments.
        recent: how old a fragment may be, in records of its stream.
        largest: the bound on importance weights.
        horizon: how many steps after a fragment's step count. 0 cuts ∇Q* - ∇V* down to
            ∇r(s,a) - E_{a' ~ π} ∇r(s,a'), as the authors' deep code does; n adds n steps of
            rollouts that begin anew from the environment's state; "full" as many as it takes until
            γ^n is below 1e-3. Of B pairs, 4 B rollouts are made for an update.
        start: environment steps before which the term is left out.
        dropout: whether rewards are those of a network in training, some units left out.

    Raises:
        InvalidInputError: a number out of its range.

    Bias: horizon n leaves out a part of order γ^{n+1}, and what would come after a time limit. The
    distribution of a fragment's first state is held fixed.

    Source: Yang, Gao, Yuan (2025), proposition 4 and section 5.
    """

    weight: float | Float[Array, ""] = 1.0
    baseline: bool = eqx.field(default=True, static=True)
    actions: int = eqx.field(default=2, static=True)
    off_policy: Literal["none", "recent", "importance"] = eqx.field(default="recent", static=True)
    recent: int = 10_000
    largest: float = 10.0
    horizon: Horizon = eqx.field(default=0, static=True)
    start: int = 0
    dropout: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        for name in ("actions", "recent", "largest"):
            if not getattr(self, name) > 0:
                raise InvalidInputError(f"{name}: must be positive, got {getattr(self, name)}")
        if self.off_policy not in ("none", "recent", "importance"):
            raise InvalidInputError(
                f"off_policy: must be none, recent or importance, got {self.off_policy!r}"
            )
        check_horizon(self.horizon)
        if self.start < 0:
            raise InvalidInputError(f"start: must not be negative, got {self.start}")

    @property
    def needs_rollouts(self) -> bool:
        """Whether it needs environments in JAX, and their states in the fragments."""
        return self.horizon != 0

    def surrogate(
        self,
        model: RewardModel,
        view: FollowerView,
        pairs: Fragment,
        losses: Float[Array, "B"],
        weight: Float[Array, "B"],
        key: Key[Array, ""],
    ) -> Float[Array, ""]:
        """A number whose gradient in the model is the implicit term.

        Args:
            model: the reward.
            view: the follower, and environments for a horizon above 0.
            pairs: fragments with leading axes (B,2).
            losses: l of every pair.
            weight: 0 for pairs that do not count.
            key: for sampled actions and rollouts.

        Raises:
            InvalidInputError: there are no environments for rollouts, or no states in the
                fragments.
        """
        action_key, tail_key, dropout_key = jax.random.split(key, 3)
        follower, shape = view.follower, pairs.mask.shape
        observation, action = flat_steps(pairs)
        reward = model.at(observation, dropout_key if self.dropout else None)
        mean = follower.expectation(view.state, observation, reward, action_key, self.actions)
        advantage = (reward(action) - mean).reshape(shape)
        score = jnp.sum(jnp.where(pairs.mask, advantage, 0), axis=(1, 2))
        if self.needs_rollouts:
            score += self._tail(model, view, pairs, tail_key)
        log_prob = follower.log_prob(view.state, observation, action).reshape(shape)
        weight = weight * self._correction(pairs, log_prob, view.records)
        temperature = follower.temperature_of(view.state)
        weight = score_weights(losses, weight, temperature, self.baseline)
        return self.weight * jnp.sum(weight * score)

    def _tail(self, model, view, pairs, key):
        """What follows the steps of a pair's fragments (B,)."""
        one_axis = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), pairs)
        steps = tail_steps(self.horizon, view.follower.discount)
        rewards = tails(model, view, one_axis, steps, key).rewards
        return jnp.sum(rewards.reshape(-1, 2), axis=1)

    def _correction(self, pairs, log_prob, records):
        """The weight of every pair (B,) by the age of its fragments."""
        if self.off_policy == "none":
            return jnp.ones(len(pairs.mask))
        if self.off_policy == "recent":
            young = records - pairs.taken_at <= self.recent
            return jnp.all(young, axis=1).astype(log_prob.dtype)
        ratio = jnp.where(pairs.mask, log_prob - pairs.log_prob, 0)
        weight = jnp.exp(jnp.minimum(jnp.sum(ratio, axis=(1, 2)), jnp.log(self.largest)))
        return jax.lax.stop_gradient(weight)
