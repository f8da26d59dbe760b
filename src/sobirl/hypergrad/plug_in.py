"""Plug-in: the exact formula with the transition law as far as it has been seen."""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from sobirl.core.checks import check_number
from sobirl.core.errors import InvalidInputError
from sobirl.hypergrad.base import ContextProblem, HypergradMethod
from sobirl.hypergrad.budget import short_batches
from sobirl.hypergrad.experience import Setting, Streams
from sobirl.hypergrad.methods import METHODS, Needs
from sobirl.hypergrad.transition_counts import TransitionCounts
from sobirl.hypergrad.warm_start import WarmStart
from sobirl.mdp.rollouts import draw_states
from sobirl.solvers import Auto, Solver


class PlugInState(NamedTuple):
    """The last solve, where the environments stand, and the transitions seen."""

    start: WarmStart
    streams: Streams
    counts: TransitionCounts


class PlugIn(HypergradMethod):
    """∇J = Σ d_u ∇r_u + Σ μ ∇r with d_u and μ of the transitions seen so far.

    With P̂ the frequencies of all transitions up to now, under whatever policies: d_u is the
    leader's discounted occupancy, Â_u its advantage, and
    μ = (c + π (I - γP̂_π)^{-T} P̂ᵀγc)/τ, c = d_u Â_u. No estimate of a single batch enters, so that
    even a few steps an estimate will do once the follower's ways are known.

    Args:
        num_envs: environments that run side by side, one batch a context; they go on from batch to
            batch.
        rollout_steps: steps of every environment.
        memory: the weight of what was seen one outer step earlier; 1 never forgets.
        solver: solves the follower.

    Metrics: `objective` (minus the return according to P̂), `environment_steps`, `status`.

    Bias: that of P̂, which falls with the transitions seen; what was never seen has no part.
    Memory is S²A a context.

    Raises:
        InvalidInputError: a number below 1; x enters more of the follower than its reward.
    """

    num_envs: int = eqx.field(default=16, static=True)
    rollout_steps: int = eqx.field(default=200, static=True)
    memory: float | Float[Array, ""] = 1.0
    solver: Solver = Auto(rtol=1e-8, policy_tolerance=1e-6)

    needs: ClassVar[Needs] = METHODS["plug-in"].needs

    def __check_init__(self):
        for name in ("num_envs", "rollout_steps"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"{name}: must be at least 1, got {getattr(self, name)}")
        check_number("memory", self.memory, "must lie in [0, 1]", lambda share: 0 <= share <= 1)

    @classmethod
    def with_budget(cls, steps: int, **options: Any) -> "PlugIn":
        """Of so many environment steps: many environments that go on from batch to batch."""
        return cls(**{**short_batches(steps), **options})

    def begin(self, problem: ContextProblem, x: PyTree, key: Key[Array, ""]) -> PlugInState:
        """Nothing seen yet."""
        mdp = problem.mdp(x)
        states = draw_states(key, mdp.initial, (self.num_envs,))
        return PlugInState(
            WarmStart.cold(mdp, self.solver),
            Streams.begin(states, mdp.reward.dtype),
            TransitionCounts.empty(mdp.transition, mdp.reward.dtype),
        )

    def estimate_one(
        self, problem: ContextProblem, x: PyTree, state: PlugInState, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], PyTree, PlugInState, dict[str, Array]]:
        """The estimate at x once `num_envs` times `rollout_steps` more steps were seen."""
        mdp, leader = problem.mdp(x), problem.objective
        solution, start = state.start.solve(mdp, self.solver)
        reward, discount = problem.leader_reward(mdp, x), leader.discount_table(mdp)
        follower = Setting(mdp, solution.response, reward, discount)
        batch, streams = follower.sample(key, state.streams, self.rollout_steps, mdp.initial)
        counts = state.counts.add(mdp.transition, *batch.transitions, self.memory)

        by_leader = counts.evaluate(mdp.transition, solution.policy, discount)
        by_follower = by_leader
        if leader.discount is not None:
            own = jnp.broadcast_to(mdp.discount, mdp.shape)
            by_follower = counts.evaluate(mdp.transition, solution.policy, own)
        begin = mdp.initial[:, None] * solution.policy
        visits = begin + by_leader.visits_after(begin)
        flow = visits * by_leader.advantage(reward)
        mu = (flow + by_follower.visits_after(flow)) / mdp.temperature

        def surrogate(x):
            mdp = problem.mdp(x)
            return -jnp.sum(visits * problem.leader_reward(mdp, x)) - jnp.sum(mu * mdp.reward)

        metrics = {"environment_steps": jnp.sum(batch.rollout.live), "status": solution.status_code}
        state = PlugInState(start, streams, counts)
        return -jnp.sum(visits * reward), jax.grad(surrogate)(x), state, metrics
