"""Tails: what follows a step of a fragment, in walks that know nothing of the fragment.

∇Q*(s_h,a_h) - ∇V*(s_h) is a difference of discounted sums of ∇r over what follows. The fragment's
own rest must not stand for that: the loss that it is weighted with depends on it. So two walks
begin anew from the environment's state at s_h, one with the action a_h and one with a ~ π.
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sobirl.deep.actor_learner import to_environment
from sobirl.deep.envs.compiled import CompiledEnvironments, CompiledState
from sobirl.deep.networks import Network
from sobirl.deep.reward_model import RewardModel
from sobirl.deep.sac import SoftActorCritic
from sobirl.experience import Fragment, next_frames, seen

REMAINDER = 1e-3  # the share of all discounted weight that a full tail may leave out


def tail_steps(horizon: int | Literal["full"], discount: float) -> int:
    """The steps n of a tail; for "full" the fewest with γ^n < 1e-3, which leaves out γ^{n+1}."""
    if horizon != "full":
        return horizon
    return math.floor(math.log(REMAINDER) / math.log(discount)) + 1 if discount > 0 else 0


def tail_rewards(
    model: RewardModel,
    follower: SoftActorCritic,
    actor: Network,
    environments: CompiledEnvironments,
    fragments: Fragment,
    num_steps: int,
    key: Key[Array, ""],
) -> Float[Array, "M"]:
    """Estimates of Σ_h Σ_{t=1}^n γ^t (E[r(s_t,a_t) | s_h,a_h] - E[r(s_t,a_t) | s_h]), unbiased.

    Of every fragment one step h is drawn and stands for all of them. Either walk from it has the
    same random numbers, so that they cancel where the drawn action is a_h. A walk ends with its
    episode, also where that is cut off by a time limit.

    Args:
        model: r.
        follower: how the actor's output is read; its discount is γ.
        actor: the policy π.
        environments: to walk in.
        fragments: with states, and one leading axis (M,).
        num_steps: n.
        key: for steps, actions and walks.
    """
    step_key, action_key, walk_key = jax.random.split(key, 3)
    count = jnp.sum(fragments.mask, axis=-1)
    step = jax.random.categorical(step_key, jnp.log(fragments.mask))
    row = jnp.arange(len(step))
    k = fragments.observation.shape[1] - fragments.mask.shape[1] + 1
    frames = fragments.observation[row[:, None], step[:, None] + jnp.arange(k)]
    state, taken = jax.tree.map(lambda leaf: leaf[row, step], (fragments.state, fragments.action))
    other, _ = follower.act(actor, seen(frames), action_key)
    begin = CompiledState(state, jnp.zeros(len(step), bool))
    keys = jax.random.split(walk_key, num_steps)

    def walk(first):
        def go(carry, key):
            state, frames, action, alive = carry
            step_key, act_key = jax.random.split(key)
            outside = to_environment(environments.spec, action)
            state, step = environments.step(state, outside, step_key)
            alive &= ~(step.terminated | step.truncated)
            frames = next_frames(frames, step.observation)
            observation = seen(frames)
            action, _ = follower.act(actor, observation, act_key)
            return (state, frames, action, alive), (observation, action, alive)

        return jax.lax.scan(go, (begin, frames, first, count > 0), keys)[1]

    observation, action, alive = jax.vmap(walk)(jnp.stack([taken, other]))
    flat = (leaf.reshape(-1, *leaf.shape[3:]) for leaf in (observation, action))
    reward = jnp.where(alive, model(*flat).reshape(alive.shape), 0)  # (2,n,M)
    weight = follower.discount ** jnp.arange(1, num_steps + 1, dtype=reward.dtype)
    return count * (weight @ (reward[0] - reward[1]))
