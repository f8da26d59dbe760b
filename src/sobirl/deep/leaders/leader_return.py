"""The leader's discounted return under the policy that answers to its incentives."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.deep.follower import ActionFunction, FollowerView, ValuedFollower
from sobirl.deep.losses import td_target, weighted_mean
from sobirl.deep.offer import Offer
from sobirl.deep.reward_model import RewardModel
from sobirl.deep.trajectories import Trajectories
from sobirl.experience.replay import Transitions

ESTIMATORS = ("trace", "bc-hg", "hpgd", "explicit")
_TINY = 1e-12


class ReturnState(eqx.Module):
    """What a leader knows beside trajectories.

    Attributes:
        offer: x, and what it means.
        critic: Q_u of the present policy.
    """

    offer: Offer
    critic: RewardModel


class LeaderReturn(eqx.Module):
    """f(x,π) = -E[Σ_t γ_u^t r_u(s_t,a_t,s_{t+1},x)] under the follower's policy on r + c i_x.

    Along trajectories of the present policy, with A_u = Q_u - E_π Q_u of the leader's critics,

        e_t = γ e_{t-1} + γ_u^t A_u(s_t,a_t),    ∇φ = ∂_x f - τ^{-1} E[Σ_t e_t ∇_x c i_x(s_t,a_t)].

    Args:
        discount: γ_u.
        budget: the most that the mean of |i_x| over the policy's steps may be; above it,
            incentives are shortened to it, and so is what is differentiated. None for no budget.
        estimator: how the second term is found. "trace" is the above, in which expectations over
            the step's own action are sums where actions are discrete: E_π i_x(s_t,·) meets
            γ e_{t-1}, Cov_π(A_u, i_x)(s_t) meets γ_u^t. "bc-hg" has the drawn action in both (Kudo
            et al. 2026), "hpgd" the leader's return that followed, less E_π Q_u, for A_u (Thoma et
            al. 2024, with networks), "explicit" leaves the term out.
        actions: how many actions stand for an expectation, where they are continuous.

    Raises:
        InvalidInputError: a number out of its range, or no such estimator.

    Where x acts through the environment too, and the offer has its log P(s_{t+1}|s_t,a_t,x), both
    terms have a part of their own (DESIGN 2.3): ∇_x c i_x(s_t,a_t) is joined by δ_t ∇_x log P with
    the follower's δ_t = r + c i_x + γ V(s_{t+1}) - V(s_t), and ∂_x f by -E[Σ_t γ_u^t δ_u ∇_x log P]
    with the leader's δ_u = r_u + γ_u V_u(s_{t+1}) - Q_u(s_t,a_t). What is subtracted in them takes
    noise away and has mean zero. Without that density these parts are left out.

    Bias: of the critics, and of "hpgd" also of returns that meet their own later steps;
    trajectories of T steps leave out a part of order max(γ,γ_u)^T. A temperature that is adjusted
    to x would have a term of its own, so it must be fixed.

    Source: DESIGN section 2.6; Thoma et al. (2024); Kudo et al. (2026).
    """

    discount: float = 0.99
    budget: float | None = None
    estimator: str = eqx.field(default="trace", static=True)
    actions: int = eqx.field(default=4, static=True)

    def __check_init__(self):
        if not 0 <= self.discount < 1:
            raise InvalidInputError(f"discount: must be in [0, 1), got {self.discount}")
        if self.budget is not None and not self.budget >= 0:
            raise InvalidInputError(f"budget: must not be negative, got {self.budget}")
        if self.estimator not in ESTIMATORS:
            raise InvalidInputError(
                f"estimator: must be one of {', '.join(ESTIMATORS)}, got {self.estimator!r}"
            )
        if self.actions < 1:
            raise InvalidInputError(f"actions: must be at least 1, got {self.actions}")

    def terms(
        self,
        state: ReturnState,
        view: FollowerView,
        fragments: Trajectories,
        key: Key[Array, ""],
    ) -> tuple[PyTree, PyTree, dict[str, Float[Array, ""]]]:
        """∂f/∂x and the implicit term, each like x; their sum estimates ∇φ.

        Args:
            state: x and the leader's critics.
            view: the follower, whose present policy made ...
            fragments: ... these trajectories, at least two.
            key: for sampled actions.

        Returns:
            the two terms; `leader_return`, an estimate of -f; `spent`, the mean of |c i_x| over the
            steps; `agreement`, the cosine between what either half of the trajectories says.

        Raises:
            InvalidInputError: the follower adjusts its temperature, or x acts through the
                environment and it does not tell its values.
        """
        follower = view.follower
        if follower.keeps_entropy:
            raise InvalidInputError(
                "temperature: a leader's return needs a follower whose temperature is a number"
            )
        keys = jax.random.split(key, 3)
        shape, mask = fragments.mask.shape, jnp.asarray(fragments.mask)
        flat = flat_steps(fragments)
        values = state.critic.at(flat.observation)

        def mean(function, key):
            return follower.expectation(view.state, flat.observation, function, key, self.actions)

        value = mean(values, keys[0])
        weight = self.discount ** jnp.arange(shape[1], dtype=value.dtype)
        advantage = (values(flat.action) - value).reshape(shape)
        if self.estimator == "hpgd":
            worth = jnp.where(mask, state.offer.worth(flat).reshape(shape), 0)
            advantage = returns_to_go(worth, self.discount) - value.reshape(shape)
        advantage = jax.lax.stop_gradient(jnp.where(mask, advantage, 0))
        before = traces(weight * advantage, follower.discount)
        surprises = self._surprises(state, view, flat, values, jax.random.fold_in(key, 3))

        def estimates(x):
            offer = self.shortened(eqx.tree_at(lambda o: o.x, state.offer, x), fragments)
            worth = jnp.where(mask, weight * offer.worth(flat).reshape(shape), 0)
            implicit = jnp.zeros(shape[0])
            if self.estimator == "trace":

                def covaries(action):
                    return (values(action) - value) * offer(flat.observation, action)

                expected = mean(lambda action: offer(flat.observation, action), keys[1])
                own = mean(covaries, keys[2])
                found = before * expected.reshape(shape) + weight * own.reshape(shape)
                implicit = jnp.sum(jnp.where(mask, found, 0), axis=1)
            elif self.estimator != "explicit":
                paid = offer(flat.observation, flat.action).reshape(shape)
                found = (before + weight * advantage) * paid
                implicit = jnp.sum(jnp.where(mask, found, 0), axis=1)
            explicit = jnp.sum(worth, axis=1)
            if surprises is not None:
                log_prob = _log_prob(offer, flat, shape)
                own, leaders = (
                    jnp.where(mask, surprise.reshape(shape), 0) * log_prob for surprise in surprises
                )
                explicit += jnp.sum(weight * leaders, axis=1)
                if self.estimator != "explicit":
                    implicit += jnp.sum((before + weight * advantage) * own, axis=1)
            implicit /= follower.temperature_of(view.state)
            both = -jnp.stack([explicit, implicit])
            halves = jnp.array_split(both, 2, axis=1)
            means = jnp.stack([jnp.mean(half, axis=1) for half in halves])
            return means, -jnp.sum(worth, axis=1)

        found, returns = jax.jacrev(estimates, has_aux=True)(state.offer.x)
        explicit, implicit = (
            jax.tree.map(lambda leaf, n=n: jnp.mean(leaf[:, n], axis=0), found) for n in range(2)
        )
        first, second = (
            jax.tree.map(lambda leaf, n=n: jnp.sum(leaf[n], axis=0), found) for n in range(2)
        )
        lengths = optax.tree.norm(first) * optax.tree.norm(second)
        paid = jnp.abs(state.offer(flat.observation, flat.action))
        return (
            explicit,
            implicit,
            {
                "leader_return": -jnp.mean(returns),
                "spent": weighted_mean(paid, flat.weight),
                "agreement": optax.tree.vdot(first, second) / jnp.maximum(lengths, _TINY),
            },
        )

    def _surprises(
        self,
        state: ReturnState,
        view: FollowerView,
        flat: Transitions,
        values: ActionFunction,
        key: Key[Array, ""],
    ) -> tuple[Float[Array, "B"], Float[Array, "B"]] | None:
        """How much better a step went than was expected, for the follower and for the leader.

        None where x does not act through the environment.
        """
        follower, offer = view.follower, state.offer
        if offer.log_prob is None:
            return None
        if not isinstance(follower, ValuedFollower):
            raise InvalidInputError(f"follower: {type(follower).__name__} has no `value`")
        keys, after = jax.random.split(key, 3), flat.next_observation
        reward = follower.seen(flat.reward + offer(flat.observation, flat.action))
        ahead = follower.value(view.state, after, keys[0])
        own = td_target(reward, flat.terminated, ahead, follower.discount)
        own -= follower.value(view.state, flat.observation, keys[1])
        at = state.critic.at(after)
        ahead = follower.expectation(view.state, after, at, keys[2], self.actions)
        leaders = td_target(offer.worth(flat), flat.terminated, ahead, self.discount)
        return jax.lax.stop_gradient((own, leaders - values(flat.action)))

    def shortened(self, offer: Offer, fragments: Trajectories) -> Offer:
        """The offer with c such that the budget is kept on these trajectories."""
        if self.budget is None:
            return offer
        flat = flat_steps(fragments)
        sizes = jnp.abs(offer.incentive(offer.x, flat.observation, flat.action))
        mean = weighted_mean(sizes, flat.weight)
        scale = jnp.where(mean > self.budget, self.budget / jnp.maximum(mean, _TINY), 1.0)
        return eqx.tree_at(lambda o: o.scale, offer, scale.astype(offer.scale.dtype))


def flat_steps(trajectories: Trajectories) -> Transitions:
    """All N T steps one after another; those that do not count have weight 0."""

    def merged(leaf) -> Any:
        return None if leaf is None else jnp.reshape(leaf, (-1, *leaf.shape[2:]))

    mask, ends = jnp.asarray(trajectories.mask).reshape(-1), trajectories.terminated
    return Transitions(
        observation=merged(trajectories.observation),
        action=merged(trajectories.action),
        reward=merged(trajectories.reward),
        terminated=jnp.zeros_like(mask) if ends is None else merged(ends),
        next_observation=merged(trajectories.next_observation),
        weight=mask.astype(trajectories.reward.dtype),
        leader_reward=merged(trajectories.leader_reward),
    )


def _log_prob(offer: Offer, flat: Transitions, shape: tuple[int, ...]) -> Float[Array, "N T"]:
    """log P of every step; of those that do not count, that of the first."""
    row = jnp.where(flat.weight > 0, jnp.arange(len(flat.weight)), 0)
    steps = (leaf[row] for leaf in (flat.observation, flat.action, flat.next_observation))
    assert offer.log_prob is not None  # as was checked
    return offer.log_prob(offer.x, *steps).reshape(shape)


def traces(values: Float[Array, "N T"], discount: float | Float[Array, ""]) -> Float[Array, "N T"]:
    """γ e_{t-1} with e_t = γ e_{t-1} + v_t: of every step what came before it."""

    def step(before, value):
        return discount * (before + value), before

    zero = jnp.zeros(values.shape[0], values.dtype)
    return jax.lax.scan(step, zero, values.T)[1].T


def returns_to_go(rewards: Float[Array, "N T"], discount: float) -> Float[Array, "N T"]:
    """Σ_k γ^k r_{t+k}, of every step what followed it."""

    def step(after, reward):
        found = reward + discount * after
        return found, found

    zero = jnp.zeros(rewards.shape[0], rewards.dtype)
    return jax.lax.scan(step, zero, rewards.T, reverse=True)[1].T
