"""Preferences: learn a reward from comparisons of trajectories that the learner itself makes.

The smallest model of reinforcement learning from human feedback. A teacher with the true reward
r̂ compares two trajectories of H steps of the follower's current policy, which is optimal for the
learned reward r_x = Φx; the loss is the cross-entropy of the Bradley-Terry model:

    f(x, π) = E_{d_1,d_2 ~ π}[-q log σ(z) - (1 - q) log σ(-z)],   z = Σ_h r_x(d_1) - Σ_h r_x(d_2)

with q = σ(Σ_h r̂(d_1) - Σ_h r̂(d_2)), the teacher's own randomness averaged. The data follow the
policy and so x: the part of the hyper-gradient that plain RLHF leaves out.

What the policy's part of the hyper-gradient pursues is a choice, the explicit one is the same:

    "loss"      the cross-entropy, as in the paper
    "kl"        the cross-entropy less the teacher's entropy, E[KL(q || σ(z))]
    "win-rate"  λ P(the teacher prefers a trajectory of a reference policy to the policy's own)

Source: Yang, Gao, Yuan (2025), section 2.2; Christiano et al. (2017). "win-rate" is ours.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from sobirl.bilevel import BilevelProblem
from sobirl.core.checks import Checked, Numbers, as_policy, check_number
from sobirl.core.errors import InvalidInputError
from sobirl.hypergrad import Trajectories, TrajectoryLoss
from sobirl.mdp import Dense, SoftMDP
from sobirl.prefs import (
    preference_entropy,
    preference_logit,
    preference_loss,
    preference_probability,
    win_probability,
)
from sobirl.problems.random_mdp import random_transitions

Objective = Literal["loss", "kl", "win-rate"]
_REFERENCES = 1024  # trajectories of the reference policy: all there are, or so many drawn


class LabelledPairs(NamedTuple):
    """M pairs of trajectories, states and actions (M,2,H), and who was preferred.

    Attributes:
        pairs: the trajectories.
        answers: 1 where the first was preferred, 0 where the second was (M,).
    """

    pairs: Trajectories
    answers: Float[Array, "M"]


class Preferences(eqx.Module):
    """An instance.

    Attributes:
        transition: P (S,A,S).
        features: Φ (S,A,n).
        truth: the teacher's reward r̂ (S,A).
        horizon: H, the length of what is compared.
        discount: discount γ.
        temperature: temperature τ.
    """

    transition: np.ndarray
    features: np.ndarray
    truth: np.ndarray
    horizon: int = 5
    discount: float = 0.8
    temperature: float = 0.5

    @classmethod
    def generate(
        cls,
        states: int = 6,
        actions: int = 3,
        dimension: int = 4,
        horizon: int = 5,
        seed: int = 0,
        scale: float = 1.0,
        temperature: float = 0.5,
        realizable: bool = False,
    ) -> "Preferences":
        """A random instance with S states, A actions and x in R^n.

        Args:
            states: S.
            actions: A.
            dimension: n. The fewer features, the less the learned reward can be right everywhere.
            horizon: H.
            seed: of the random numbers.
            scale: the standard deviation of the teacher's reward: how decided the teacher is.
            temperature: τ of the follower.
            realizable: draw the teacher's reward among those that can be learned, r̂ = Φx̂.

        Raises:
            InvalidInputError: a scale or a temperature that is not positive.
        """
        check_number("scale", scale, "must be positive", lambda s: s > 0)
        check_number("temperature", temperature, "must be positive", lambda t: t > 0)
        rng = np.random.default_rng(seed)
        transition = random_transitions(rng, states, actions)
        features = rng.standard_normal((states, actions, dimension))
        if realizable:
            truth = features @ rng.standard_normal(dimension) / np.sqrt(dimension)
        else:
            truth = rng.standard_normal((states, actions))
        return cls(transition, features, scale * truth, horizon, temperature=temperature)

    def problem(
        self,
        objective: Checked[Objective] = "loss",
        *,
        reference: Numbers | None = None,
        weight: float | Float[Array, ""] | None = None,
        given: LabelledPairs | None = None,
    ) -> BilevelProblem:
        """The bilevel problem over x (n,).

        Args:
            objective: what the response to x is judged by: "loss", "kl" or "win-rate", see above.
            reference: of "win-rate": the policy to win against (S,A); uniform by default.
            weight: of "win-rate": λ ≥ 0, 1 by default. With 0 what is left is plain learning, the
                explicit term alone.
            given: learn from these pairs, and not from pairs of the policy's own. They stay as they
                are, so that the explicit term is theirs; the rest of the hyper-gradient remains
                that of the policy's own pairs.

        Raises:
            InvalidInputError: there is no such objective, a reference or weight is given to another
                than "win-rate", or is none.
        """
        if objective not in get_args(Objective):
            names = ", ".join(get_args(Objective))
            raise InvalidInputError(f"objective: there is no {objective!r}; choose from {names}")
        wins = objective == "win-rate"
        for name, option in (("reference", reference), ("weight", weight)):
            if option is not None and not wins:
                raise InvalidInputError(f"{name}: goes with objective='win-rate' only")
        weight = 1.0 if weight is None else weight
        check_number("weight", weight, "must be at least 0", lambda w: w >= 0)

        judged = self.loss if objective == "loss" else self.divergence
        if wins:
            judged = _Defeats(self.truth, *self._references(reference), weight)
        sizes = self.horizon, 2
        if not wins and given is None:
            loss = TrajectoryLoss(self.follower, judged, *sizes)
        else:
            held = self.loss if given is None else _Given(self, given)
            loss = TrajectoryLoss(self.follower, _AtFixedX(judged), *sizes, held)
        return BilevelProblem(self.follower, loss)

    def follower(self, x: Float[Array | np.ndarray, "n"]) -> SoftMDP:
        """The soft MDP with reward Φx."""
        states = len(self.transition)
        return SoftMDP(
            transition=Dense(self.transition),
            reward=self.features @ x,
            discount=self.discount,
            temperature=self.temperature,
            initial=np.full(states, 1 / states),
        )

    def loss(self, x: Float[Array | np.ndarray, "n"], pair: Trajectories) -> Float[Array, ""]:
        """The cross-entropy of the learned preference relative to the teacher's."""
        return preference_loss(self.logit(x, pair), self.answer(pair))

    def divergence(self, x: Float[Array | np.ndarray, "n"], pair: Trajectories) -> Float[Array, ""]:
        """KL(q || σ(z)): the cross-entropy less what the teacher's own doubt has of it."""
        answer = self.answer(pair)
        return preference_loss(self.logit(x, pair), answer) - preference_entropy(answer)

    def answer(self, pair: Trajectories) -> Float[Array, ""]:
        """q, the probability that the teacher prefers the first of two trajectories."""
        return preference_probability(_logit(jnp.asarray(self.truth), pair))

    def logit(self, x: Float[Array | np.ndarray, "n"], pair: Trajectories) -> Float[Array, ""]:
        """z, the log-odds of the learned reward."""
        return _logit(jnp.asarray(self.features) @ x, pair)

    def labelled_pairs(
        self, num: int, key: Key[Array, ""], policy: Numbers | None = None
    ) -> LabelledPairs:
        """Pairs of a policy's trajectories and the teacher's drawn answers, to learn from.

        Args:
            num: M.
            key: a typed JAX key.
            policy: whose trajectories (S,A); uniform by default.

        Raises:
            InvalidInputError: M is below 1, or the policy is none.
        """
        if num < 1:
            raise InvalidInputError(f"num: must be at least 1, got {num}")
        pairs_key, answers_key = jax.random.split(key)
        loss = TrajectoryLoss(self.follower, self.loss, self.horizon, 2)
        pairs, _ = loss.sample(self._mdp, self._policy("policy", policy), pairs_key, num)
        preferred = jax.vmap(self.answer)(pairs)
        answers = jax.random.bernoulli(answers_key, preferred)
        return LabelledPairs(pairs, answers.astype(preferred.dtype))

    @property
    def _mdp(self) -> SoftMDP:
        """The follower's MDP at x = 0, for its law and its initial distribution."""
        return self.follower(jnp.zeros(self.features.shape[-1]))

    def _policy(self, name: str, policy: Numbers | None) -> Float[Array, "S A"]:
        """A policy, uniform if none is given."""
        shape = self.truth.shape
        if policy is None:
            return jnp.full(shape, 1 / shape[1])
        return as_policy(name, policy, shape)

    def _references(self, policy: Numbers | None) -> tuple[Float[Array, "R"], Float[Array, "R"]]:
        """What the teacher sees in trajectories of the reference policy, and their probabilities.

        All of them where there are few; otherwise a sample that is always the same.
        """
        policy = self._policy("reference", policy)
        loss = TrajectoryLoss(self.follower, self.loss, self.horizon)
        if self.truth.size**self.horizon <= _REFERENCES:
            paths, chance = loss.enumerate(self._mdp, policy)
        else:
            paths, _ = loss.sample(self._mdp, policy, jax.random.key(0), _REFERENCES)
            chance = jnp.full(_REFERENCES, 1 / _REFERENCES)
        return _return(jnp.asarray(self.truth), paths)[:, 0], chance


class _Defeats(eqx.Module):
    """λ P(a reference is preferred to a trajectory), the mean over the trajectories of a tuple."""

    truth: Float[Array | np.ndarray, "S A"]
    references: Float[Array, "R"]
    chance: Float[Array, "R"]
    weight: float | Float[Array, ""]

    def __call__(self, x: Float[Array | np.ndarray, "n"], pair: Trajectories) -> Float[Array, ""]:
        returns = _return(jnp.asarray(self.truth), pair)
        wins = win_probability(returns, self.references, self.chance)
        return self.weight * jnp.mean(1 - wins)


class _Given(eqx.Module):
    """The cross-entropy on pairs that were given, whatever trajectories the policy has made."""

    instance: Preferences
    given: LabelledPairs

    def __call__(self, x: Float[Array | np.ndarray, "n"], pair: Trajectories) -> Float[Array, ""]:
        logits = jax.vmap(lambda given: self.instance.logit(x, given))(self.given.pairs)
        return jnp.mean(preference_loss(logits, self.given.answers))


class _AtFixedX(eqx.Module):
    """A loss through which x acts by the trajectories alone: it has no explicit term."""

    loss: Callable

    def __call__(self, x: Float[Array | np.ndarray, "n"], pair: Trajectories) -> Float[Array, ""]:
        return self.loss(jax.lax.stop_gradient(x), pair)


def _return(reward: Float[Array, "S A"], paths: Trajectories) -> Float[Array, "*I"]:
    """The sum of the rewards of every trajectory."""
    return reward[paths.state, paths.action].sum(axis=-1)


def _logit(reward: Float[Array, "S A"], pair: Trajectories) -> Float[Array, ""]:
    """The log-odds that the first trajectory is preferred: how much more reward it has."""
    return preference_logit(*_return(reward, pair))
