"""Markov games: the leader has a policy of its own, and the follower answers it.

The follower sees what the leader does in this step, so that its state is the pair (s, b) of the
state and the leader's action; the leader's policy is part of the law of pairs. x are the
parameters of that policy.

    DiscreteToy     states S, A, B; leader {0, 1}, follower {s, a, b}. S·a → A, S·b → B,
                    (A,0,s) → S, (A,0,b) → B, (A,1,·) → S, B·s → S; other moves stay. The follower
                    earns 1 at S for a or b, R at (A,0,b), and -1 at (A,1,·); the leader 1 at
                    (S,a). From S, 150 steps, γ = 0.99, τ = 0.05. R is 1 (R1) or 2 (R2).
    RegulatorGame   x' = [[0,1],[0,0]] x + (0,.1)'u + (.1,0)'b; the leader plays b ~ N(K x, 1e-6).
                    The follower's cost is |x|² + u², γ = 0.95, τ = 0.1; the leader earns
                    exp(-Σ (x_i - t_i)²/2σ_i²), t = (-.8, 0), σ = (.2, .01), γ_u = 0.99. From
                    (1, 0), 100 steps.

Source: Kudo et al. (2026), BC-HG, and their public code.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobirl.bilevel import BilevelProblem
from sobirl.core.checks import check_number
from sobirl.hypergrad import LeaderReturn
from sobirl.mdp import Dense, SoftMDP
from sobirl.solvers import EntropyLQR, GaussianResponse, policy_return, solve

STATES, MOVES = ("S", "A", "B"), ("s", "a", "b")
TOY_DISCOUNT, TOY_HORIZON, TOY_TEMPERATURE = 0.99, 150, 0.05
TARGET, WIDTH = np.array([-0.8, 0.0]), np.array([0.2, 0.01])
GAME_HORIZON, LEADER_DISCOUNT = 100, 0.99
DRIFT, PUSH, LEAD = np.array([[0.0, 1], [0, 0]]), np.array([[0.0], [0.1]]), np.array([[0.1], [0.0]])
LEADER_NOISE = 1e-6
# The leader's return by BC-HG and by the naive gradient, read off figures; undiscounted but for R1.
PUBLISHED = {
    "r1": {"BC-HG": 27.0, "naive": 11.4},
    "r2": {"BC-HG": 58.9, "naive": 32.7},
    "lqr": {"BC-HG": 0.147, "naive": 0.020},
}
_START = np.array([1.0, 0.0])


Logits = Float[Array | np.ndarray, "3 2"]
Gain = Float[Array | np.ndarray, "2"]


class Game(Protocol):
    """What both games offer."""

    def problem(self) -> BilevelProblem:
        """The bilevel problem."""
        ...

    def x0(self) -> Float[Array, "..."]:
        """The leader's first policy."""
        ...

    def returns(self, x: Any) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The leader's return over the game's steps, discounted and not."""
        ...


@dataclasses.dataclass(frozen=True)
class DiscreteToy:
    """Three states; x are the logits (3,2) of the leader's policy.

    Args:
        bonus: R, what the follower earns at (A, 0, b).
        temperature: the follower's τ.

    Raises:
        InvalidInputError: a temperature that is not positive.
    """

    bonus: float = 1.0
    temperature: float = TOY_TEMPERATURE

    def __post_init__(self):
        check_number("temperature", self.temperature, "must be positive", lambda t: t > 0)

    def problem(self) -> BilevelProblem:
        """The bilevel problem, with no end; what comes after 150 steps is the leader's too."""
        toy = self.tables
        return BilevelProblem(toy.follower, LeaderReturn(toy.follower, toy.leader_reward))

    def x0(self) -> Float[Array, "3 2"]:
        """Both actions alike."""
        return jnp.zeros((3, 2))

    @functools.cached_property
    def tables(self) -> "Tables":
        """The rules as arrays."""
        with jax.ensure_compile_time_eval():  # it is kept, also where `returns` is compiled
            return Tables(self.bonus, self.temperature)

    def returns(self, x: Logits) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Over 150 steps, discounted and not."""
        mdp = self.tables.follower(x)
        policy, reward = solve(mdp).policy, self.tables.leader_reward(x)
        # One step more: the first only draws the leader's action.
        discounted, plain = (
            policy_return(mdp, policy, reward, discount, horizon=TOY_HORIZON + 1)
            for discount in (TOY_DISCOUNT, 1.0)
        )
        return discounted, plain * TOY_DISCOUNT


class Tables(eqx.Module):
    """The rules over seven states: the pairs (s, b), and before them one where b is first drawn.

    That state takes a step in which nobody earns anything. The leader's rewards are divided by γ,
    so that its return is that from the second step on.
    """

    temperature: Float[Array, ""]
    reward: Float[Array, "7 3"]
    next_state: Float[Array, "7 3 3"]

    def __init__(self, bonus: float, temperature: float):
        self.temperature = jnp.asarray(temperature, float)
        s, a, b = range(3)
        leads = np.broadcast_to(np.arange(3)[:, None, None], (3, 2, 3)).copy()
        leads[0, :, a], leads[0, :, b] = 1, 2
        leads[1, 0, s], leads[1, 0, b], leads[1, 1] = 0, 2, 0
        leads[2, :, s] = 0
        reward = np.zeros((3, 2, 3))
        reward[0, :, [a, b]] = 1
        reward[1, 0, b], reward[1, 1] = bonus, -1
        first = np.zeros((1, 3, 3))
        first[..., 0] = 1
        self.next_state = jnp.asarray(np.concatenate([first, np.eye(3)[leads].reshape(6, 3, 3)]))
        self.reward = jnp.asarray(np.concatenate([np.zeros((1, 3)), reward.reshape(6, 3)]))

    def follower(self, x: Logits) -> SoftMDP:
        """The follower's soft MDP over pairs."""
        plays = jax.nn.softmax(x, axis=-1)
        pairs = (self.next_state[..., None] * plays).reshape(7, 3, 6)
        return SoftMDP(
            transition=Dense(jnp.concatenate([jnp.zeros((7, 3, 1)), pairs], axis=-1)),
            reward=self.reward,
            discount=TOY_DISCOUNT,
            temperature=self.temperature,
            initial=np.eye(7)[0],
        )

    def leader_reward(self, x: Logits) -> Float[Array, "7 3"]:
        """1/γ at (S, a)."""
        return jnp.zeros((7, 3)).at[1:3, 1].set(1 / TOY_DISCOUNT)


@dataclasses.dataclass(frozen=True)
class RegulatorGame:
    """Two coordinates; x is the gain K (2,) of the leader's policy.

    Args:
        temperature: the follower's τ.

    Raises:
        InvalidInputError: a temperature that is not positive.
    """

    temperature: float = 0.1

    def __post_init__(self):
        check_number("temperature", self.temperature, "must be positive", lambda t: t > 0)

    def problem(self) -> BilevelProblem:
        """The bilevel problem."""
        return BilevelProblem(self.regulator.follower, self.regulator.objective)

    def x0(self) -> Float[Array, "2"]:
        """A leader that does nothing."""
        return jnp.zeros(2)

    @functools.cached_property
    def regulator(self) -> "Regulator":
        """Both players."""
        with jax.ensure_compile_time_eval():
            return Regulator(jnp.asarray(self.temperature, float))

    def returns(self, x: Gain) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Over 100 steps, discounted and not."""
        rewards = self.regulator.rewards(x, solve(self.regulator.follower(x)))
        return jnp.sum(_weights() * rewards), jnp.sum(rewards)


class Regulator(eqx.Module):
    """Both players; the follower's state is (x_1, x_2, b)."""

    temperature: Float[Array, ""]

    def follower(self, gain: Gain) -> EntropyLQR:
        """The follower's problem: b' = K x' joins the state, with its noise."""
        law = jnp.concatenate([jnp.asarray(DRIFT), LEAD], axis=1)
        return EntropyLQR(
            A=jnp.concatenate([law, gain[None] @ law]),
            B=jnp.concatenate([jnp.asarray(PUSH), gain[None] @ PUSH]),
            Q=np.diag([1.0, 1, 0]),
            R=np.eye(1),
            discount=0.95,
            temperature=self.temperature,
            noise=np.diag([0, 0, LEADER_NOISE]),
        )

    def objective(self, gain: Gain, response: GaussianResponse) -> Float[Array, ""]:
        """Minus the leader's discounted return."""
        return -jnp.sum(_weights() * self.rewards(gain, response))

    def course(
        self, gain: Gain, response: GaussianResponse
    ) -> tuple[Float[Array, "100 2"], Float[Array, "100 2 2"]]:
        """Mean and covariance of x_t."""
        first = jnp.append(_START, gain @ _START)
        noise = jnp.diag(jnp.array([0, 0, LEADER_NOISE]))
        mean, spread = self.follower(gain).moments(response, first, noise, GAME_HORIZON)
        return mean[:, :2], spread[:, :2, :2]

    def rewards(self, gain: Gain, response: GaussianResponse) -> Float[Array, "100"]:
        """What the leader earns in every step on average, a Gaussian integral.

        With x ~ N(m, C) and W = C + diag σ²: σ_1 σ_2 |W|^{-1/2} exp(-(m - t)'W⁻¹(m - t)/2).
        """
        mean, spread = self.course(gain, response)
        W, off = spread + np.diag(WIDTH**2), mean - TARGET
        (a, b), (_, d) = jnp.moveaxis(W, 0, -1)
        det = a * d - b**2
        far = (d * off[:, 0] ** 2 - 2 * b * off[:, 0] * off[:, 1] + a * off[:, 1] ** 2) / det
        return np.prod(WIDTH) / jnp.sqrt(det) * jnp.exp(-far / 2)


def _weights() -> Float[Array, "100"]:
    return LEADER_DISCOUNT ** jnp.arange(GAME_HORIZON)


GAMES: Mapping[str, Any] = {
    "r1": DiscreteToy,
    "r2": functools.partial(DiscreteToy, 2.0),
    "lqr": RegulatorGame,
}
