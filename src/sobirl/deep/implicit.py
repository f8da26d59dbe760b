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
from jaxtyping import Array, Float, Int, Key

from sobirl.core.errors import InvalidInputError
from sobirl.deep.envs.compiled import CompiledEnvironments
from sobirl.deep.networks import Network
from sobirl.deep.reward_model import RewardModel
from sobirl.deep.sac import SoftActorCritic
from sobirl.deep.tails import tail_rewards, tail_steps
from sobirl.experience import Fragment


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
            ∇r(s,a) - E_{a' ~ π} ∇r(s,a'), as the authors' deep code does; n adds n steps of walks
            that begin anew from the environment's state; "full" as many as it takes until γ^n is
            below 1e-3. Of B pairs, 4 B walks are made for an update.

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
    horizon: int | Literal["full"] = eqx.field(default=0, static=True)

    def __check_init__(self):
        for name in ("actions", "recent", "largest"):
            if not getattr(self, name) > 0:
                raise InvalidInputError(f"{name}: must be positive, got {getattr(self, name)}")
        if self.off_policy not in ("none", "recent", "importance"):
            raise InvalidInputError(
                f"off_policy: must be none, recent or importance, got {self.off_policy!r}"
            )
        if self.horizon != "full" and not (isinstance(self.horizon, int) and self.horizon >= 0):
            raise InvalidInputError(
                f"horizon: must be 'full' or a number of steps from 0, got {self.horizon!r}"
            )

    @property
    def walks(self) -> bool:
        """Whether it needs environments to walk in and their states in the fragments."""
        return self.horizon != 0

    def surrogate(
        self,
        model: RewardModel,
        follower: SoftActorCritic,
        actor: Network,
        temperature: Float[Array, ""],
        pairs: Fragment,
        losses: Float[Array, "B"],
        weight: Float[Array, "B"],
        now: Int[Array, ""],
        key: Key[Array, ""],
        environments: CompiledEnvironments | None = None,
    ) -> Float[Array, ""]:
        """A number whose gradient in the model is the implicit term.

        Args:
            model: the reward.
            follower: how the actor's output is read.
            actor: the policy.
            temperature: τ.
            pairs: fragments with leading axes (B,2).
            losses: l of every pair.
            weight: 0 for pairs that do not count.
            now: records that a stream has had, to reckon a fragment's age by.
            key: for sampled actions and walks.
            environments: to walk in, for a horizon above 0.

        Raises:
            InvalidInputError: there are no environments to walk in, or no states in the fragments.
        """
        action_key, tail_key = jax.random.split(key)
        flat = _flat(pairs)
        advantage, log_prob = self._advantage(model, follower, actor, *flat, action_key)
        shape = pairs.mask.shape
        score = jnp.sum(jnp.where(pairs.mask, advantage.reshape(shape), 0), axis=(1, 2))
        if self.walks:
            score += self._tail(model, follower, actor, environments, pairs, tail_key)
        weight = weight * self._correction(pairs, log_prob.reshape(shape), now)
        losses = jax.lax.stop_gradient(losses)
        total = jnp.sum(weight)
        if self.baseline:
            others = jnp.sum(weight * losses) - weight * losses
            losses = losses - others / jnp.maximum(total - weight, 1e-8)
        score = jnp.sum(weight * losses * score) / jnp.maximum(total, 1e-8)
        return self.weight / jax.lax.stop_gradient(temperature) * score

    def _advantage(self, model, follower, actor, observation, action, key):
        """r(s,a) - E r(s,a') (T,), and log π(a|s) (T,)."""
        if model.discrete:
            log_policy = follower.log_policy(actor, observation)
            table = jnp.mean(model.table(observation), axis=0)
            mean = jnp.sum(jnp.exp(log_policy) * table, axis=-1)
            here = action[:, None]
            taken, log_prob = (
                jnp.take_along_axis(both, here, axis=-1)[:, 0] for both in (table, log_policy)
            )
            return taken - mean, log_prob
        drawn = jax.vmap(lambda key: follower.act(actor, observation, key)[0])(
            jax.random.split(key, self.actions)
        )
        others = jax.vmap(lambda action: model(observation, action))(jax.lax.stop_gradient(drawn))
        log_prob = follower.log_prob(actor, observation, action)
        return model(observation, action) - jnp.mean(others, axis=0), log_prob

    def _tail(self, model, follower, actor, environments, pairs, key):
        """What follows the steps of a pair's fragments (B,)."""
        if environments is None or pairs.state is None:
            raise InvalidInputError(
                f"horizon: {self.horizon} needs environments in JAX to walk in, and their states "
                "in the fragments (ActorLearner(keep_states=True)); without, only 0 will do"
            )
        one_axis = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), pairs)
        steps = tail_steps(self.horizon, follower.discount)
        rewards = tail_rewards(model, follower, actor, environments, one_axis, steps, key)
        return jnp.sum(rewards.reshape(-1, 2), axis=1)

    def _correction(self, pairs, log_prob, now):
        """The weight of every pair (B,) by the age of its fragments."""
        if self.off_policy == "none":
            return jnp.ones(len(pairs.mask))
        if self.off_policy == "recent":
            return jnp.all(now - pairs.taken_at <= self.recent, axis=1).astype(log_prob.dtype)
        ratio = jnp.where(pairs.mask, log_prob - pairs.log_prob, 0)
        weight = jnp.exp(jnp.minimum(jnp.sum(ratio, axis=(1, 2)), jnp.log(self.largest)))
        return jax.lax.stop_gradient(weight)


def _flat(pairs: Fragment):
    """Observations and actions of all steps, one after another."""
    axes = pairs.mask.ndim
    stacked = pairs.stacked
    return (leaf.reshape(-1, *leaf.shape[axes:]) for leaf in (stacked, pairs.action))
