"""What the methods have in common that follow the leader's return along trajectories of π*."""

import abc
from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.hypergrad.base import ContextProblem, HypergradMethod
from sobirl.hypergrad.budget import short_batches
from sobirl.hypergrad.experience import Experience, Setting, Streams
from sobirl.hypergrad.methods import METHODS, Needs
from sobirl.hypergrad.warm_start import WarmStart
from sobirl.mdp import SoftMDP
from sobirl.mdp.rollouts import draw_states
from sobirl.mdp.traces import eligibility_trace
from sobirl.solvers import Auto, Solver

Episodes = Literal["single", "autoreset", "continued"]


class StepWeights(NamedTuple):
    """A method's answer: how much each step's action matters to the leader.

    Attributes:
        experience: the trajectories that the weights belong to; the batch itself, or others.
        weight: γ_u^t Â_u(s_t, a_t), or what the method has in its place (N,T).
        memory: what the method keeps for the next step.
        extra_steps: environment steps taken beside the batch.
    """

    experience: Experience
    weight: Float[Array, "N T"]
    memory: Any = None
    extra_steps: Array | int = 0


class TrajectoryState(NamedTuple):
    """What is kept from one outer step to the next.

    Attributes:
        start: the last follower's solve, from which the next starts.
        streams: where the environments stand, if they go on.
        memory: what the method has learned.
    """

    start: WarmStart
    streams: Streams | None
    memory: Any


class TrajectoryMethod(HypergradMethod):
    """∇φ = -∇J with J the leader's return, from trajectories of π* alone:

        ∇J ≈ 1/N Σ γ_u^t ∇r_u(s_t,a_t) + 1/(τN) Σ e_t ∇r(s_t,a_t),   e_t = γ e_{t-1} + w_t

    over N episodes: the reward's own change, and the eligibility trace e through which the signed
    occupancy μ_t = e_t/(τN) reaches the follower's reward. Methods differ in the weights w_t.
    Where x enters P, ∇r_t becomes ∇r_t + γ ∇log P(s_{t+1}|s_t,a_t) V(s_{t+1}), V the follower's
    value, and Σ γ_u^{t+1} ∇log P(s_{t+1}|s_t,a_t) G_{t+1} joins the first sum, G the leader's
    sampled return to go. All is one vector-Jacobian product through the two rewards and P.
    """

    num_envs: int = eqx.field(default=16, static=True)
    rollout_steps: int = eqx.field(default=200, static=True)
    episodes: Episodes = eqx.field(default="autoreset", static=True)
    solver: Solver = Auto(rtol=1e-8, policy_tolerance=1e-6)

    needs: ClassVar[Needs] = METHODS["naive"].needs

    def __check_init__(self):
        for name in ("num_envs", "rollout_steps"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"{name}: must be at least 1, got {getattr(self, name)}")
        if self.episodes not in ("single", "autoreset", "continued"):
            raise InvalidInputError(
                f"episodes: must be 'single', 'autoreset' or 'continued', got {self.episodes!r}"
            )

    @abc.abstractmethod
    def implicit(self, batch: Experience, memory: Any, key: Key[Array, ""]) -> StepWeights | None:
        """The weights w_t of the implicit term; None for none."""

    def remember(self, mdp: SoftMDP) -> Any:
        """The memory before the first step, for one context."""
        return None

    @classmethod
    def with_budget(cls, steps: int, **options: Any) -> "TrajectoryMethod":
        """Of so many environment steps: many environments that take few."""
        return cls(**{**short_batches(steps), **options})

    def begin(self, problem: ContextProblem, x: PyTree, key: Key[Array, ""]) -> TrajectoryState:
        """Zero values, from which the first lower level is solved, and an empty memory."""
        mdp = problem.mdp(x)
        streams = self._begin(key, mdp) if self.episodes == "continued" else None
        return TrajectoryState(WarmStart.cold(mdp, self.solver), streams, self.remember(mdp))

    def estimate_one(
        self, problem: ContextProblem, x: PyTree, state: TrajectoryState, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], PyTree, TrajectoryState, dict[str, Array]]:
        """The estimate at x from `num_envs` times `rollout_steps` steps."""
        begin_key, batch_key, implicit_key = jax.random.split(key, 3)
        mdp = problem.mdp(x)
        solution, start = state.start.solve(mdp, self.solver)
        reward = problem.leader_reward(mdp, x)
        discount = problem.objective.discount_table(mdp)
        follower = Setting(mdp, solution.response, reward, discount)
        goes_on = state.streams is not None
        streams = self._begin(begin_key, mdp) if state.streams is None else state.streams
        restart = None if self.episodes == "single" else mdp.initial
        batch, streams = follower.sample(batch_key, streams, self.rollout_steps, restart)

        steps, memory, signed = jnp.sum(batch.rollout.live), None, None
        weights = self.implicit(batch, state.memory, implicit_key)
        if weights is not None:
            memory, steps = weights.memory, steps + weights.extra_steps
            signed, trace = _signed_occupancy(weights)
            streams = eqx.tree_at(lambda s: s.trace, streams, trace)
        hypergradient = _differentiate(problem, x, batch, signed)
        objective = -jnp.sum(batch.weight * batch.along(reward)) / batch.episodes
        metrics = {
            "environment_steps": steps,
            "truncation": jnp.sum(streams.weight * streams.environments.live) / batch.episodes,
            "status": solution.status_code,
        }
        state = TrajectoryState(start, streams if goes_on else None, memory)
        return objective, hypergradient, state, metrics

    def _begin(self, key: Key[Array, ""], mdp: SoftMDP) -> Streams:
        """New episodes from ρ."""
        states = draw_states(key, mdp.initial, (self.num_envs,))
        begin = Streams.stagger if self.episodes == "continued" else Streams.begin
        return begin(states, mdp.reward.dtype)


class SignedOccupancy(NamedTuple):
    """Weights μ_t on the steps of trajectories: the follower's reward reaches φ through them."""

    experience: Experience
    mu: Float[Array, "N T"]


def _signed_occupancy(weights: StepWeights) -> tuple[SignedOccupancy, Float[Array, "N"]]:
    """μ_t = e_t/(τN), and the trace that the next batch begins with."""
    experience = weights.experience
    mdp = experience.mdp
    discount = experience.along(jnp.broadcast_to(mdp.discount, mdp.shape))
    trace = eligibility_trace(weights.weight, discount, experience.rollout.first, experience.trace)
    mu = trace * experience.rollout.live / (mdp.temperature * experience.episodes)
    return SignedOccupancy(experience, mu), trace[:, -1] * discount[:, -1]


def _differentiate(
    problem: ContextProblem, x: PyTree, batch: Experience, signed: SignedOccupancy | None
) -> PyTree:
    """-∇J: the gradient of a sum over steps whose weights stay fixed."""
    # What the leader gets after each step.
    reward = batch.along(batch.reward)
    to_come = batch.leader_return_to_go() - reward

    def explicit(x, mdp):
        reward = problem.leader_reward(mdp, x)
        gains = batch.along(reward) + to_come * _log_law(mdp, batch)
        return jnp.sum(batch.weight * gains) / batch.episodes

    def implicit(signed, mdp):
        experience, mu = signed
        at_x = experience.mdp
        # What the follower expected to come is a baseline: ∇log P has mean zero.
        value = experience.response.value
        expected = experience.along(at_x.transition.expect(value))
        discount = experience.along(jnp.broadcast_to(at_x.discount, at_x.shape))
        surprise = discount * (value[experience.rollout.next_state] - expected)
        gains = experience.along(mdp.reward) + surprise * _log_law(mdp, experience)
        return jnp.sum(mu * gains)

    def surrogate(x):
        mdp = problem.mdp(x)
        return -explicit(x, mdp) - (0.0 if signed is None else implicit(signed, mdp))

    return jax.grad(surrogate)(x)


def _log_law(mdp: SoftMDP, experience: Experience) -> Float[Array, "N T"]:
    """log P(s_{t+1}|s_t,a_t) along the trajectories."""
    rollout = experience.rollout
    return jnp.log(mdp.transition.probability(rollout.state, rollout.action, rollout.next_state))
