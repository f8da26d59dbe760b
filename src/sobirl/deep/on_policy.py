"""How well a reward predicts what a teacher says of a policy's own fragments, without sampling."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from sobirl.deep.reward_learning import RewardLearner
from sobirl.deep.reward_model import RewardModel
from sobirl.experience import Fragment, flat_steps
from sobirl.prefs import Oracle, fragment_return, preference_entropy, preference_loss
from sobirl.prefs.bradley_terry import preference_probability


def on_policy_fit(
    rewards: RewardLearner, model: RewardModel | None, oracle: Oracle, fragments: Fragment
) -> dict[str, Float[Array, ""]]:
    """φ = E [ H(q, P̃(z)) ] over pairs of fragments, with the teacher's true probabilities q.

    Every fragment meets those of all other streams (a U-statistic), and no answer is drawn: all
    that is random is the fragments. z is the mean of the members' log-odds.

    Args:
        rewards: how the reward is fitted: temperature, noise and discount of its model.
        model: r_x; None for the teacher's own probabilities, which is the least φ here.
        oracle: the teacher.
        fragments: (N,M) that a policy made, M one after another in each of N streams.

    Returns:
        `cross_entropy`, φ; its part `teacher_entropy`, E H(q), which no reward can lower where the
        policy is what it is; and `calibration`, E |P̃(z) - q|.

    Source: Yang, Gao, Yuan (2025), section 2.2; Hoeffding (1948) for U-statistics.
    """
    streams, each = fragments.mask.shape[:2]
    holds = jnp.any(fragments.mask, axis=-1).reshape(-1)
    stream = jnp.repeat(jnp.arange(streams), each)
    meet = holds[:, None] & holds & (stream[:, None] != stream)
    seen, total = (
        _paired(leaf.reshape(-1)) for leaf in oracle.returns(fragments.reward, fragments.mask)
    )
    truth = oracle.probability(seen, total)
    entropy = preference_entropy(truth)
    loss, gap = entropy, jnp.zeros_like(truth)
    if model is not None:
        reward = jnp.mean(model.members(*flat_steps(fragments)), axis=0)
        reward = reward.reshape(fragments.mask.shape)
        worth = fragment_return(reward, fragments.mask, rewards.discount).reshape(-1)
        logit = (worth[:, None] - worth) / rewards.temperature
        loss = preference_loss(logit, truth, rewards.noise)
        gap = jnp.abs(preference_probability(logit, rewards.noise) - truth)
    names = "cross_entropy", "teacher_entropy", "calibration"
    return {
        name: jnp.sum(jnp.where(meet, value, 0)) / jnp.sum(meet)
        for name, value in zip(names, (loss, entropy, gap), strict=True)
    }


def _paired(returns: Float[Array, "P"]) -> Float[Array, "P P 2"]:
    """Those of every pair."""
    return jnp.stack(jnp.broadcast_arrays(returns[:, None], returns), axis=-1)
