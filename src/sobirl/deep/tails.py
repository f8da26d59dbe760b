"""Tails: what follows a step of a fragment, in rollouts that know nothing of the fragment.

∇Q*(s_h,a_h) - ∇V*(s_h) is a difference of discounted sums of ∇r over what follows. The fragment's
own rest must not stand for that: the loss that it is weighted with depends on it. So two rollouts
begin anew from the environment's state at s_h, one with the action a_h and one with a ~ π.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from sobirl.core.errors import InvalidInputError
from sobirl.deep.actor_learner import to_environment
from sobirl.deep.envs.compiled import CompiledState
from sobirl.deep.follower import FollowerView, RewardFunction
from sobirl.experience import Fragment, next_frames, seen
from sobirl.hypergrad.score import Horizon

REMAINDER = 1e-3  # the share of all discounted weight that a full tail may leave out


def tail_steps(horizon: Horizon, discount: float | Float[Array, ""]) -> int:
    """The steps n of a tail; for "full" the fewest with γ^n < 1e-3, which leaves out γ^{n+1}."""
    if horizon != "full":
        return horizon
    discount = float(discount)
    return math.floor(math.log(REMAINDER) / math.log(discount)) + 1 if discount > 0 else 0


class Tails(NamedTuple):
    """What follows M fragments' steps, estimated from one step of each.

    Attributes:
        rewards: Σ_h Σ_{t=1}^n γ^t (E[r(s_t,a_t) | s_h,a_h] - E[r(s_t,a_t) | s_h]).
        entropies: the same of -log π(a_t|s_t), whose mean is the policy's entropy; no gradient.
        step: h, which stands for all steps of its fragment.
    """

    rewards: Float[Array, "M"]
    entropies: Float[Array, "M"]
    step: Int[Array, "M"]


def tails(
    reward: RewardFunction,
    view: FollowerView,
    fragments: Fragment,
    rollout_steps: int,
    key: Key[Array, ""],
) -> Tails:
    """Estimates of what follows, unbiased.

    Of every fragment one step h is drawn and stands for all of them. Either rollout from it has the
    same random numbers, so that they cancel where the drawn action is a_h. A rollout ends with its
    episode, also where that is cut off by a time limit.

    Args:
        reward: r.
        view: the follower, its policy π and its discount γ, and environments to roll out in.
        fragments: with states, and one leading axis (M,).
        rollout_steps: n.
        key: for steps, actions and rollouts.

    Raises:
        InvalidInputError: there are no environments for rollouts, or no states in the fragments.
    """
    follower, environments = view.follower, view.environments
    if environments is None or fragments.state is None:
        raise InvalidInputError(
            "horizon: above 0 needs environments in JAX for its rollouts, and their states in the "
            "fragments (ActorLearner(keep_states=True)); without, only 0 will do"
        )
    step_key, action_key, rollout_key = jax.random.split(key, 3)
    count = jnp.sum(fragments.mask, axis=-1)
    step = jax.random.categorical(step_key, jnp.log(fragments.mask))
    row = jnp.arange(len(step))
    k = fragments.observation.shape[1] - fragments.mask.shape[1] + 1
    frames = fragments.observation[row[:, None], step[:, None] + jnp.arange(k)]
    state, taken = jax.tree.map(lambda leaf: leaf[row, step], (fragments.state, fragments.action))
    other, _ = follower.act(view.state, seen(frames), action_key)
    begin = CompiledState(state, jnp.zeros(len(step), bool))
    keys = jax.random.split(rollout_key, rollout_steps)

    def roll_out(first):
        def go(carry, key):
            state, frames, action, alive = carry
            step_key, act_key = jax.random.split(key)
            outside = to_environment(environments.spec, action)
            state, step = environments.step(state, outside, step_key)
            alive &= ~(step.terminated | step.truncated)
            frames = next_frames(frames, step.observation)
            observation = seen(frames)
            action, log_prob = follower.act(view.state, observation, act_key)
            return (state, frames, action, alive), (observation, action, log_prob, alive)

        return jax.lax.scan(go, (begin, frames, first, count > 0), keys)[1]

    observation, action, log_prob, alive = jax.vmap(roll_out)(jnp.stack([taken, other]))
    # One time after another, and once more on the way back: networks keep nothing of the others.
    flat = (jnp.swapaxes(leaf, 0, 1) for leaf in (observation, action))
    flat = tuple(leaf.reshape(rollout_steps, -1, *leaf.shape[3:]) for leaf in flat)
    rewards = jax.lax.map(jax.checkpoint(lambda at: reward(*at)), flat)
    rewards = jnp.swapaxes(rewards.reshape(rollout_steps, 2, -1), 0, 1)  # (2,n,M)
    weight = follower.discount ** jnp.arange(1, rollout_steps + 1, dtype=rewards.dtype)

    def difference(values):
        first, second = jnp.where(alive, values, 0)
        return count * (weight @ (first - second))

    return Tails(difference(rewards), jax.lax.stop_gradient(difference(-log_prob)), step)
