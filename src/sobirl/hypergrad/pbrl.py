"""PBRL: the follower's optimality as a penalty, both levels descend."""

from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from sobirl.core.checks import check_number
from sobirl.core.errors import InvalidInputError
from sobirl.core.response import Response
from sobirl.hypergrad.base import ContextProblem, HypergradMethod
from sobirl.hypergrad.methods import METHODS, Needs
from sobirl.mdp import SoftMDP
from sobirl.mdp.rollouts import draw_states
from sobirl.mdp.transitions import invert
from sobirl.mdp.visits import sample_visits_after
from sobirl.solvers import Auto, Solver, occupancy, policy_value, solve


class PBRLState(NamedTuple):
    """The policy that descends with x, the follower's value, and the steps done."""

    log_policy: Float[Array, "*C S A"]
    value: Float[Array, "*C S"]
    step: Int[Array, "*C"]


class PBRL(HypergradMethod):
    """Penalty-based bilevel RL: minimize F(x, π) = f(x, π) + κ p(x, π) over both.

    p ≥ 0 measures how far π is from the follower's optimum:

        value     p = V*(ρ) - V^π(ρ)
        bellman   p = E_{s~U}[V*(s) - Σ_a π(a|s) (Q*(s,a) - τ log π(a|s)/π_ref(a|s))]

    with regularized values and U uniform. Per outer step π takes mirror-descent steps on F,
    π ← π exp(-α/(κτ) ∇_π F / d), d(s) the discounted visits (or U), which for α = 1 is soft policy
    iteration bent by f; then ∂_x F is the estimate. With π at its optimum that is the gradient of
    min_π F, which tends to ∇φ for κ → ∞.

    Args:
        penalty: κ at the first step, in units of f per unit of the follower's value.
        penalty_growth: κ_k = κ (1 + growth · k); 0 keeps it.
        kind: which p.
        policy_steps: mirror-descent steps on π in an outer step.
        policy_learning_rate: α in (0, 1].
        num_walks: sample ∂_x F from that many walks of either policy, for a `LeaderReturn` and a
            follower whose reward alone depends on x; None for exact expectations. The policy's own
            steps are exact in either case, as the follower's solve is in other methods.
        solver: solves the follower.

    Metrics: `objective` (f at the current π), `penalty` (p), `environment_steps`, `status`.

    Bias: of order 1/κ, and the distance of π from its optimum.

    Source: Shen, Yang, Chen (2024), algorithm 1 with either penalty.
    """

    penalty: float | Float[Array, ""] = 10.0
    penalty_growth: float | Float[Array, ""] = 0.0
    kind: Literal["value", "bellman"] = eqx.field(default="value", static=True)
    policy_steps: int = eqx.field(default=5, static=True)
    policy_learning_rate: float | Float[Array, ""] = 0.5
    num_walks: int | None = eqx.field(default=None, static=True)
    solver: Solver = Auto()

    def __check_init__(self):
        if self.kind not in ("value", "bellman"):
            raise InvalidInputError(f"kind: must be 'value' or 'bellman', got {self.kind!r}")
        check_number("penalty", self.penalty, "must be positive", lambda k: k > 0)
        check_number(
            "penalty_growth", self.penalty_growth, "must not be negative", lambda g: g >= 0
        )
        check_number(
            "policy_learning_rate",
            self.policy_learning_rate,
            "must lie in (0, 1]",
            lambda a: 0 < a <= 1,
        )
        for name in ("policy_steps", "num_walks"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise InvalidInputError(f"{name}: must be at least 1, got {count}")

    @property
    def needs(self) -> Needs:  # pyrefly: ignore[bad-override]  # depends on the options
        """The model and any objective; with walks, a return and x in the reward alone."""
        if self.num_walks is None:
            return METHODS["pbrl"].needs
        return Needs("return", ("reward",), samples=True)

    def begin(self, problem: ContextProblem, x: PyTree, key: Key[Array, ""]) -> PBRLState:
        """The reference policy, or the uniform one."""
        mdp = problem.mdp(x)
        log_policy = jax.nn.log_softmax(mdp.log_reference)
        return PBRLState(log_policy, jnp.zeros_like(mdp.initial), jnp.zeros((), jnp.int32))

    def estimate_one(
        self, problem: ContextProblem, x: PyTree, state: PBRLState, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], PyTree, PBRLState, dict[str, Array]]:
        """∂_x F at the policy that the mirror-descent steps lead to."""
        mdp = problem.mdp(x)
        solution = solve(mdp, self.solver, initial_value=state.value, throw=False)
        kappa = self.penalty * (1 + self.penalty_growth * state.step)

        def penalized(x, log_policy):
            mdp = problem.mdp(x)
            response = _evaluate(mdp, log_policy)
            optimal = solve(mdp, self.solver, initial_value=solution.value, throw=False)
            penalty = self._penalty(mdp, response, optimal.response)
            objective = problem.upper(x, response)
            return objective + kappa * penalty, (objective, penalty)

        def leader(log_policy):
            return problem.upper(x, _evaluate(mdp, log_policy))

        def descend(_, log_policy):
            # Mirror descent on κp alone ends at log π_ref + Q/τ. In log π nothing underflows: an
            # action that has become improbable can come back.
            q = solution.q if self.kind == "bellman" else _evaluate(mdp, log_policy).q
            goal = mdp.log_reference + q / mdp.temperature
            policy = jnp.exp(log_policy)
            slope = jax.grad(leader)(log_policy)  # in log π; divided by π that in π
            slope = slope / jnp.maximum(policy, jnp.finfo(policy.dtype).tiny)
            slope = slope / self._weight(mdp, policy)[:, None]
            goal = goal - slope / (kappa * mdp.temperature)
            step = self.policy_learning_rate
            return jax.nn.log_softmax((1 - step) * log_policy + step * goal)

        log_policy = jax.lax.fori_loop(0, self.policy_steps, descend, state.log_policy)
        steps = jnp.zeros((), jnp.int32)
        if self.num_walks is None:
            gradient, (objective, penalty) = jax.grad(penalized, has_aux=True)(x, log_policy)
        else:
            _, (objective, penalty) = penalized(x, log_policy)
            gradient, steps = self._sample(
                self.num_walks, problem, x, mdp, log_policy, solution.policy, kappa, key
            )
        metrics = {"penalty": penalty, "environment_steps": steps, "status": solution.status_code}
        return objective, gradient, PBRLState(log_policy, solution.value, state.step + 1), metrics

    def _penalty(self, mdp: SoftMDP, response: Response, optimal: Response) -> Float[Array, ""]:
        """p(x, π)."""
        if self.kind == "value":
            return mdp.initial @ (optimal.value - response.value)
        return jnp.mean(optimal.value - _soft_mean(mdp, optimal.q, response.log_policy))

    def _weight(self, mdp: SoftMDP, policy: Float[Array, "S A"]) -> Float[Array, "S"]:
        """How much p weights a state, and a little where hardly anyone comes."""
        if self.kind == "bellman":
            return jnp.full(len(policy), 1 / len(policy), policy.dtype)
        return jnp.maximum(jnp.sum(occupancy(mdp, policy), axis=-1), 1e-6)

    def _sample(self, num_walks, problem, x, mdp, log_policy, optimal, kappa, key):
        """∂_x F from walks, and the steps they took."""
        policy = jnp.exp(log_policy)
        keys = jax.random.split(key, 4)
        discount = problem.objective.discount_table(mdp)
        from_leader = eqx.tree_at(lambda m: m.discount, mdp, discount)
        weight = jnp.full(num_walks, 1 / num_walks, policy.dtype)

        def visits(mdp, policy, starts, first_policy, key):
            """Discounted visits of walks from their first action on."""
            action_key, walk_key = jax.random.split(key)
            action = _draw_actions(action_key, first_policy, starts)
            after, steps = sample_visits_after(
                mdp, policy, walk_key, starts[None], action[None], weight[None]
            )
            return after.at[starts, action].add(weight), steps + num_walks

        starts = draw_states(keys[0], mdp.initial, (num_walks,))
        of_leader, steps = visits(from_leader, policy, starts, policy, keys[1])
        if self.kind == "value":
            own, more = visits(mdp, policy, starts, policy, keys[2])
            best, most = visits(mdp, optimal, starts, optimal, keys[2])
        else:
            states = len(policy)
            starts = jax.random.randint(keys[3], (num_walks,), 0, states, jnp.int32)
            own, more = visits(mdp, optimal, starts, policy, keys[2])
            best, most = visits(mdp, optimal, starts, optimal, keys[2])
        mu = kappa * (best - own)

        def surrogate(x):
            lower = problem.mdp(x)
            reward = problem.leader_reward(lower, x)
            return jnp.sum(mu * lower.reward) - jnp.sum(of_leader * reward)

        return jax.grad(surrogate)(x), steps + more + most


def _draw_actions(key, policy: Float[Array, "S A"], states: Int[Array, "N"]) -> Int[Array, "N"]:
    uniform = jax.random.uniform(key, states.shape, policy.dtype)
    return invert(jnp.cumsum(policy, axis=-1)[states], uniform)


def _evaluate(mdp: SoftMDP, log_policy: Float[Array, "S A"]) -> Response:
    """The response of a follower that has another policy: its regularized values."""
    value = policy_value(mdp, jnp.exp(log_policy), regularized=True)
    return Response(value, mdp.action_value(value), log_policy)


def _soft_mean(
    mdp: SoftMDP, q: Float[Array, "S A"], log_policy: Float[Array, "S A"]
) -> Float[Array, "S"]:
    """Σ_a π (Q - τ log π/π_ref); actions that the reference forbids have π = 0."""
    policy = jnp.exp(log_policy)
    allowed = jnp.isfinite(mdp.log_reference)
    difference = jnp.where(allowed, log_policy - mdp.log_reference, 0.0)
    return jnp.sum(jnp.where(allowed, policy * (q - mdp.temperature * difference), 0.0), axis=-1)
