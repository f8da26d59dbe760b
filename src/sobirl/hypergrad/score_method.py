"""What SoBiRL and Stoc-SoBiRL have in common: the score-function form for trajectory losses."""

import abc
import dataclasses
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.hypergrad.base import ContextProblem, HypergradMethod
from sobirl.hypergrad.budget import episode_length
from sobirl.hypergrad.methods import METHODS, Needs
from sobirl.hypergrad.score import Horizon, check_horizon, score_weights
from sobirl.hypergrad.trajectory_loss import Trajectories
from sobirl.hypergrad.transition_counts import TransitionCounts
from sobirl.mdp import SoftMDP
from sobirl.mdp.visits import sample_visits_after
from sobirl.solvers.linear import linear_solve


class ScoreState(NamedTuple):
    """The follower, as far as the next step starts from it, and the transitions seen."""

    follower: Any
    counts: TransitionCounts | None


class ScoreMethod(HypergradMethod):
    """∇φ = E[∇_x l] + 1/τ E[(l - b) Σ_i Σ_h (∇Q*(s_h^i,a_h^i) - ∇V*(s_h^i))], for `TrajectoryLoss`.

    A loss whose trajectories are held adds its ∇_x and nothing else.
    Sampled with a signed occupancy μ: each step of each trajectory puts (l - b)/τ on the visits
    that follow (s,a) and takes it from those that follow s; then one vector-Jacobian product
    through the follower's reward. Methods differ in the policy that they sample.
    """

    num_tuples: int = eqx.field(default=64, static=True)
    horizon: Horizon = eqx.field(default="full", static=True)
    tails: Literal["rollouts", "fitted"] = eqx.field(default="rollouts", static=True)
    baseline: bool = eqx.field(default=True, static=True)
    expectations: Literal["sampled", "exact"] = eqx.field(default="sampled", static=True)

    def __check_init__(self):
        least = 2 if self.baseline else 1
        if self.num_tuples < least:
            raise InvalidInputError(
                f"num_tuples: must be at least {least}{' with a baseline' * self.baseline}, got "
                f"{self.num_tuples}"
            )
        check_horizon(self.horizon)
        if self.tails not in ("rollouts", "fitted"):
            raise InvalidInputError(f"tails: must be 'rollouts' or 'fitted', got {self.tails!r}")
        if self.tails == "fitted" and self.horizon != "full":
            raise InvalidInputError(f"horizon: must be 'full' if fitted, got {self.horizon}")
        if self.expectations not in ("sampled", "exact"):
            raise InvalidInputError(
                f"expectations: must be 'sampled' or 'exact', got {self.expectations!r}"
            )

    @property
    def needs(self) -> Needs:  # pyrefly: ignore[bad-override]  # depends on the options
        """A loss and x in the reward; nothing is random in exact expectations."""
        sampled = self.expectations == "sampled"
        return dataclasses.replace(METHODS["sobirl"].needs, samples=sampled)

    @classmethod
    def with_budget(
        cls, steps: int, tuple_steps: int | None = None, **options: Any
    ) -> "ScoreMethod":
        """Of so many environment steps, with tuples that take `tuple_steps` each.

        Walks would take most of them: visits are reckoned from the transitions seen. Without
        `tuple_steps`, a tuple is one trajectory as long as `episode_length`.
        """
        tuples = max(1, steps // (tuple_steps or episode_length(steps)))
        sizes: dict[str, Any] = {"num_tuples": tuples, "baseline": tuples > 1}
        sizes |= {"horizon": "full", "tails": "fitted"}
        return cls(**{**sizes, **options})

    @abc.abstractmethod
    def start_follower(self, mdp: SoftMDP) -> Any:
        """What `follow` starts from at the first step."""

    @abc.abstractmethod
    def follow(
        self, mdp: SoftMDP, follower: Any
    ) -> tuple[Float[Array, "S A"], Any, Int[Array, ""]]:
        """The policy to sample, what the next step starts from, and a status."""

    def begin(self, problem: ContextProblem, x: PyTree, key: Key[Array, ""]) -> ScoreState:
        """A follower that knows nothing."""
        mdp, counts = problem.mdp(x), None
        if self.tails == "fitted":
            counts = TransitionCounts.empty(mdp.transition, mdp.reward.dtype)
        return ScoreState(self.start_follower(mdp), counts)

    def estimate_one(
        self, problem: ContextProblem, x: PyTree, state: ScoreState, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], PyTree, ScoreState, dict[str, Array]]:
        """The estimate at x from `num_tuples` tuples."""
        loss = problem.objective
        batch_key, tail_key = jax.random.split(key)
        mdp = problem.mdp(x)
        policy, follower, status = self.follow(mdp, state.follower)
        counts, steps = state.counts, 0
        if self.expectations == "exact":
            tuples, probability = loss.enumerate(mdp, policy)
        else:
            tuples, next_state = loss.sample(mdp, policy, batch_key, self.num_tuples)
            probability = jnp.full(self.num_tuples, 1 / self.num_tuples, policy.dtype)
            steps = tuples.state.size
            if counts is not None:
                counts = counts.add(mdp.transition, tuples.state, tuples.action, next_state)
        losses = problem.losses(x, tuples)
        baseline = self.baseline and self.expectations == "sampled"
        weight = score_weights(losses, probability, mdp.temperature, baseline)
        mu, extra = self._signed_occupancy(mdp, policy, tuples, weight, state.counts, tail_key)

        def surrogate(x):
            explicit = probability @ problem.all_losses(x, tuples)
            return explicit + jnp.sum(mu * problem.mdp(x).reward), explicit

        hypergradient, objective = jax.grad(surrogate, has_aux=True)(x)
        metrics = {"environment_steps": jnp.asarray(steps + extra), "status": status}
        return objective, hypergradient, ScoreState(follower, counts), metrics

    def _signed_occupancy(
        self,
        mdp: SoftMDP,
        policy: Float[Array, "S A"],
        tuples: Trajectories,
        weight: Float[Array, "B"],
        counts: TransitionCounts | None,
        key: Key[Array, ""],
    ) -> tuple[Float[Array, "S A"], Int[Array, ""] | int]:
        """μ (S,A), and the steps that the walks took."""
        weight = jnp.broadcast_to(weight[:, None, None], tuples.state.shape)
        state, action, weight = (jnp.ravel(a) for a in (tuples.state, tuples.action, weight))
        score = jnp.zeros_like(mdp.reward).at[state, action].add(weight)
        here = score - policy * jnp.sum(score, axis=-1, keepdims=True)
        if self.horizon == 0:
            return here, 0
        if self.expectations == "exact":
            return here + self._exact_visits(mdp, policy, here), 0
        if counts is not None:  # the tails are fitted
            discount = jnp.broadcast_to(mdp.discount, mdp.shape)
            fitted = counts.evaluate(mdp.transition, policy, discount)
            return here + fitted.visits_after(here), 0
        # Either walk from the same place with the same random numbers: what differs is the first
        # action, and where that is the same, they cancel.
        key, other_key = jax.random.split(key)
        other = jax.random.categorical(other_key, jnp.log(policy[state]))
        after, steps = sample_visits_after(
            mdp,
            policy,
            key,
            jnp.stack([state, state]),
            jnp.stack([action, other.astype(action.dtype)]),
            jnp.stack([weight, -weight]),
            None if self.horizon == "full" else self.horizon,
        )
        return here + after, steps

    def _exact_visits(self, mdp, policy, here) -> Float[Array, "S A"]:
        """The discounted visits after signed visits `here`, up to the horizon."""
        if self.horizon == "full":
            arrivals = mdp.transition.push(mdp.discount * here)
            visits = linear_solve(mdp.policy_system(policy), arrivals, transposed=True)
            return visits[:, None] * policy

        def step(visits, _):
            visits = mdp.transition.push(mdp.discount * visits)[:, None] * policy
            return visits, visits

        return jnp.sum(jax.lax.scan(step, here, None, length=self.horizon)[1], axis=0)
