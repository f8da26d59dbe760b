"""How likely the follower's policy makes a fragment, and how that moves with the reward.

With z = Q/τ the logits of the policy π and dQ, dV total derivatives in the reward's parameters,

    d log π(a|s) = (dQ(s,a) - dV(s))/τ - (z(s,a) - E_π z(s,·)) d log τ.

If τ is adjusted so that the policy keeps its mean entropy, it moves too: 0 = E dH gives

    d log τ = E Cov_π(z, dQ/τ) / E Var_π(z).

A change of τ also moves Q, by what the entropy of later steps is worth. Both are written with dQ
for a fixed τ instead, and with z less the discounted entropy that follows, which comes to the same.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sobirl.core.errors import InvalidInputError
from sobirl.deep.follower import FollowerView, ScoredReward
from sobirl.deep.tails import tail_steps, tails
from sobirl.experience import Fragment, flat_steps
from sobirl.hypergrad.score import Horizon, check_horizon


class Scores(NamedTuple):
    """Of B fragments, sums over their steps h; a gradient reaches the first and the third.

    Attributes:
        rewards: Σ_h (Q(s_h,a_h) - V(s_h)), Q and V the reward's part of the values.
        logits: Σ_h (z(s_h,a_h) - E_π z(s_h,·)), z without the entropy that follows.
        covariance: an estimate of Σ_h Cov_π(z, Q(s_h,·)).
        variance: an estimate of Σ_h Var_π(z(s_h,·)), z once without the entropy that follows.
    """

    rewards: Float[Array, "B"]
    logits: Float[Array, "B"]
    covariance: Float[Array, "B"]
    variance: Float[Array, "B"]


class PolicyScore(eqx.Module):
    """How the scores of fragments are estimated.

    Args:
        horizon: how many steps after a fragment's step count. 0 cuts Q - V down to
            r(s,a) - E_{a' ~ π} r(s,a'), n adds n steps of rollouts that begin anew from the
            environment's state, "full" as many as it takes until γ^n is below 1e-3. For each
            fragment two rollouts are made.
        actions: how many actions stand for an expectation, where they are continuous.

    Raises:
        InvalidInputError: a number out of its range.
    """

    horizon: Horizon = eqx.field(default=0, static=True)
    actions: int = eqx.field(default=2, static=True)

    def __check_init__(self):
        check_horizon(self.horizon)
        if self.actions < 1:
            raise InvalidInputError(f"actions: must be positive, got {self.actions}")

    @property
    def needs_rollouts(self) -> bool:
        """Whether it needs environments in JAX, and their states in the fragments."""
        return self.horizon != 0

    def scores(
        self, reward: ScoredReward, view: FollowerView, fragments: Fragment, key: Key[Array, ""]
    ) -> Scores:
        """The scores of fragments (B,).

        Args:
            reward: r, as the critics see it.
            view: the follower, and environments for a horizon above 0.
            fragments: with states for a horizon above 0.
            key: for sampled actions and rollouts.

        Raises:
            InvalidInputError: there are no environments, or no states in the fragments, for
                rollouts.
        """
        follower, mask = view.follower, fragments.mask
        keys = jax.random.split(key, 4)
        observation, action = flat_steps(fragments)

        def advantage(function, key):
            mean = follower.expectation(view.state, observation, function, key, self.actions)
            return jnp.where(mask, (function(action) - mean).reshape(mask.shape), 0)

        def log_policy(action):
            return follower.log_prob(view.state, observation, action)

        # Two independent estimates of the same, whose product has no bias.
        logit, other = (jax.lax.stop_gradient(advantage(log_policy, key)) for key in keys[:2])
        rewards = advantage(reward.at(observation), keys[2])
        found = Scores(*map(_over_steps, (rewards, logit, logit * rewards, logit * other)))
        if not self.needs_rollouts:
            return found
        steps = tail_steps(self.horizon, follower.discount)
        after = tails(reward, view, fragments, steps, keys[3])
        at = jnp.take_along_axis(logit, after.step[:, None], axis=1)[:, 0]
        return Scores(
            found.rewards + after.rewards,
            found.logits - after.entropies,
            found.covariance + at * after.rewards,
            found.variance - at * after.entropies,
        )


def _over_steps(values: Float[Array, "B L"]) -> Float[Array, "B"]:
    return jnp.sum(values, axis=-1)
