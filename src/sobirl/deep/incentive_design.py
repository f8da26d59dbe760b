"""Incentives for a follower that goes on learning: two time scales, one leader step a round.

A round lets the follower act and learn on what is offered, and the leader's critics with it; then
trajectories of the present policy give the leader's hyper-gradient, and x takes a step.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.deep.actor_learner import ActorLearner
from sobirl.deep.follower import CoolingFollower, Follower, FollowerView
from sobirl.deep.leaders.leader_return import LeaderReturn, ReturnState
from sobirl.deep.led_follower import LedFollower
from sobirl.deep.offer import Offer

Metrics = dict[str, float]


class DesignState(eqx.Module):
    """Everything that the next round depends on.

    Attributes:
        loop: of the follower, the leader's critics, their replay and the environments.
        x: the leader's parameters.
        scale: c of the budget.
        optimizer: of x.
        round: how many rounds were done.
        key: for all that is random in estimates.
        probe: of evolution strategies, the direction that is tried and what it was worth; else
            None.
    """

    loop: PyTree
    x: PyTree
    scale: Float[Array, ""]
    optimizer: PyTree
    round: Int[Array, ""]
    key: Key[Array, ""]
    probe: tuple[PyTree, Float[Array, ""]] | None = None

    @property
    def step(self) -> Int[Array, ""]:
        """As loops of all kinds call it: the rounds that were done."""
        return self.round


@dataclasses.dataclass(frozen=True, eq=False)
class IncentiveDesign:
    """How incentives are designed while a follower learns on them.

    Attributes:
        loop: the environments, a `CompiledLoop` or a `HostLoop`; the trajectories of an estimate
            are episodes of those for the evaluation.
        learner: its follower is a `LedFollower`.
        leader: the objective, and how its hyper-gradient is estimated.
        x0: where x begins.
        incentive: `incentive(x, observation, action)` (B,), for a batch.
        reward: `reward(observation, action, next_observation, x)` (B,), the leader's; None takes
            `info["leader_reward"]` where it is kept, or else the environment's own reward.
        price: what the leader pays for a unit of incentives.
        log_prob: `log_prob(x, observation, action, next_observation)` (B,) of the environment,
            where it takes x (`loop.with_x`); None leaves out of the gradient what x does there.
        optimizer: of the steps of x, which descend.
        projection: x to the nearest point that is allowed, for bounds and budgets of x itself.
        calls: steps of all environments in a round.
        steps: T, after which a trajectory is cut off.
        warm_up: rounds before the first step of x.
        temperatures: τ of every round, the last one of all further; None leaves the follower's.
        evolution: σ of evolution strategies, which take a step in every other round: the follower
            is offered x + σε and then x - σε with normal ε, and the difference of what it makes of
            them stands for the gradient (Salimans et al. 2017); None for the leader's estimate.

    Raises:
        InvalidInputError: the follower's temperature is no number, or counts are out of range.
    """

    loop: Any
    learner: ActorLearner
    leader: LeaderReturn
    x0: PyTree
    incentive: Callable
    reward: Callable | None = None
    price: float = 0.0
    log_prob: Callable | None = None
    optimizer: optax.GradientTransformation = dataclasses.field(
        default_factory=lambda: optax.adam(0.01)
    )
    projection: Callable[[PyTree], PyTree] | None = None
    calls: int = 100
    steps: int = 200
    warm_up: int = 10
    temperatures: tuple[float, ...] | None = None
    evolution: float | None = None

    def __post_init__(self):
        if not isinstance(self.learner.follower, LedFollower):
            raise InvalidInputError("learner: its follower must be a LedFollower")
        if self.temperatures is not None and not isinstance(self.follower, CoolingFollower):
            raise InvalidInputError(
                f"temperatures: {type(self.follower).__name__} has no `with_temperature`"
            )
        if self.learner.follower.keeps_entropy:
            raise InvalidInputError(
                "temperature: must be a number, for an adjusted one would move with x"
            )
        for name, least in (("calls", 1), ("steps", 1), ("warm_up", 0)):
            if getattr(self, name) < least:
                raise InvalidInputError(
                    f"{name}: must be at least {least}, got {getattr(self, name)}"
                )
        if self.evolution is not None and not self.evolution > 0:
            raise InvalidInputError(f"evolution: must be positive, got {self.evolution}")
        if self.loop.evaluation.num_envs < 2:
            raise InvalidInputError("loop: an estimate needs at least two trajectories")

    @property
    def follower(self) -> Follower:
        """Who responds, without the leader's critics."""
        led = self.learner.follower
        assert isinstance(led, LedFollower)  # as was checked
        return led.follower

    def init(self, key: Key[Array, ""]) -> DesignState:
        """Before the first round; the random steps of the beginning are part of that."""
        key, loop_key = jax.random.split(key)
        x = jax.tree.map(jnp.array, self.x0)
        loop = self.loop.with_x(x).begin(self.learner, loop_key)
        zero = jnp.zeros((), jnp.int32)
        probe = None if self.evolution is None else (jax.tree.map(jnp.zeros_like, x), jnp.zeros(()))
        return DesignState(loop, x, jnp.ones(()), self.optimizer.init(x), zero, key, probe)

    def offer(self, state: DesignState) -> Offer:
        """What the follower is offered."""
        terms = self.incentive, self.reward, self.price, self.log_prob
        return Offer(state.x, state.scale, *terms)

    def round(self, state: DesignState) -> tuple[DesignState, Metrics]:
        """One round.

        Returns:
            the next state, and metrics: `leader_return` (discounted), `follower_return` (a sum, as
            the environment has it), `spent_in_episode` and `episode_length` of the
            trajectories, `spent` (mean |c i_x| a step), the lengths of both terms, and how the
            follower and the critics learn.

        Raises:
            InvalidInputError: the leader's return or its gradient is not finite.
        """
        key, made_key, estimate_key = jax.random.split(state.key, 3)
        at = int(state.round)
        loop = state.loop
        if self.temperatures is not None:
            temperature = self.temperatures[min(at, len(self.temperatures) - 1)]
            loop = (_with_temperature(self.learner.follower, loop[0], temperature), *loop[1:])
        offer, probe = self.offer(state), state.probe
        leads = at >= self.warm_up and int(loop[0].steps) >= self.learner.random_steps
        sigma, second = self.evolution or 0.0, (at - self.warm_up) % 2 == 1
        if probe is not None and leads:
            key, probe_key = jax.random.split(key)
            probe = probe if second else (_noise(probe_key, state.x), probe[1])
            shift = -sigma if second else sigma
            offer = eqx.tree_at(lambda o: o.x, offer, _moved(state.x, shift, probe[0]))
        world = self.loop.with_x(offer.x)
        loop, sums = world.advance(self.learner, offer, loop, self.calls)
        learned, critic = loop[0].follower.steady
        made = world.trajectories(self.follower, learned, made_key, self.steps)
        view = FollowerView(
            self.follower, learned, steps=loop[0].steps, records=loop[0].vector_steps
        )
        known = ReturnState(offer, critic)
        gradient, told = _estimate(self.leader, known, view, made, estimate_key)
        told = {name: float(value) for name, value in told.items()}
        self._check(told, at, _largest(state.x))
        if probe is not None and leads:
            leads = second
            slope = (told["leader_return"] - float(probe[1])) / (2 * sigma)
            gradient = jax.tree.map(lambda noise: slope * noise, probe[0])
            probe = probe[0], jnp.asarray(told["leader_return"], probe[1].dtype)
            told["hypergradient_norm"] = float(optax.tree.norm(gradient)) if second else math.nan
        x, optimizer = state.x, state.optimizer
        if leads:
            x, optimizer = _stepped((self.optimizer, self.projection), gradient, optimizer, x)
        after = eqx.tree_at(lambda o: o.x, offer, x)
        scale = _shortened(self.leader, after, made).scale
        metrics = {"environment_steps": float(loop[0].steps), **_means(sums), **told}
        return DesignState(loop, x, scale, optimizer, state.round + 1, key, probe), metrics

    def _check(self, told: Metrics, at: int, largest: float) -> None:
        if np.isfinite(told["leader_return"]):
            if np.isfinite(told["explicit_norm"]) and np.isfinite(told["implicit_norm"]):
                return
            raise InvalidInputError(
                f"leader: in round {at + 1} the gradient in x is not finite, where x goes up to "
                f"{largest:.3g}; look for a division by zero or a root of zero in the leader's or "
                "the incentives' function, or keep x from running away by a smaller learning "
                "rate, a price or a projection"
            )
        raise InvalidInputError(
            f"leader: in round {at + 1} the leader's return is {told['leader_return']}, where x "
            f"goes up to {largest:.3g}; its reward must be finite wherever the follower goes"
        )


@eqx.filter_jit
def _with_temperature(follower, learner, temperature):
    changed = follower.with_temperature(learner.follower, jnp.asarray(temperature))
    return eqx.tree_at(lambda s: s.follower, learner, changed)


@eqx.filter_jit
def _noise(key, x):
    structure = jax.tree.structure(x)
    keys = jax.tree.unflatten(structure, list(jax.random.split(key, structure.num_leaves)))
    return jax.tree.map(lambda leaf, key: jax.random.normal(key, leaf.shape, leaf.dtype), x, keys)


@eqx.filter_jit
def _moved(x, distance, direction):
    return jax.tree.map(lambda leaf, d: leaf + distance * d, x, direction)


@eqx.filter_jit
def _estimate(leader, known, view, made, key):
    explicit, implicit, told = leader.terms(known, view, made, key)
    count = jnp.sum(made.mask, axis=1)
    reward = jnp.sum(jnp.where(made.mask, made.reward, 0), axis=1)
    told |= {
        "follower_return": jnp.mean(reward),
        "episode_length": jnp.mean(count),
        "spent_in_episode": told["spent"] * jnp.mean(count),
        "explicit_norm": optax.tree.norm(explicit),
        "implicit_norm": optax.tree.norm(implicit),
    }
    whole = jax.tree.map(jnp.add, explicit, implicit)
    return whole, told | {"hypergradient_norm": optax.tree.norm(whole)}


@eqx.filter_jit
def _shortened(leader, offer, made):
    return leader.shortened(offer, made)


@eqx.filter_jit
def _stepped(fixed, gradient, optimizer, x):
    descent, projection = fixed
    updates, optimizer = descent.update(gradient, optimizer, x)
    x = optax.apply_updates(x, updates)
    return (x if projection is None else projection(x)), optimizer


def _largest(x: PyTree) -> float:
    """The largest size of a number in x."""
    return max(float(np.max(np.abs(leaf), initial=0)) for leaf in jax.tree.leaves(x))


def _means(sums: dict[str, Array]) -> Metrics:
    """The metrics of the updates, in the mean."""
    updates = max(int(sums["updates"]), 1)
    left_out = ("episodes", "returns", "lengths", "updates")
    return {name: float(v) / updates for name, v in sums.items() if name not in left_out}
