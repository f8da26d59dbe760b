"""Transitions counted along the way, and what a policy is worth according to them."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sobirl.mdp import PolicySystem, TransitionOperator
from sobirl.solvers.linear import AutoLinear, LinearSolver, State, linear_solve


class TransitionCounts(eqx.Module):
    """How often each transition was seen (S,A,K): the table from which values are fitted.

    Least-squares temporal differences with a table: the policy is evaluated as if transitions
    happened with the frequencies seen, whatever policy they were seen under. Where a state and
    action have never been seen, nothing is known, and their advantage is 0. Of the transition law
    only the support is used, the K successors of each state and action, for places to count in.
    """

    seen: Float[Array, "*C S A K"]

    @classmethod
    def empty(cls, transition: TransitionOperator, dtype) -> "TransitionCounts":
        """Nothing seen."""
        return cls(jnp.zeros((*transition.shape, transition.num_successors), dtype))

    def add(
        self,
        transition: TransitionOperator,
        state: Int[Array, "*N"],
        action: Int[Array, "*N"],
        next_state: Int[Array, "*N"],
        live: Bool[Array, "*N"] | float = 1.0,
        memory: float | Float[Array, ""] = 1.0,
    ) -> "TransitionCounts":
        """With more transitions, as far as they are `live`; earlier ones count `memory` times."""
        seen = memory * self.seen
        place = transition.place(state, action, next_state)
        return TransitionCounts(seen.at[state, action, place].add(live))

    def law(self) -> Float[Array, "S A K"]:
        """The frequencies of successors; 0 for what was never seen."""
        count = jnp.sum(self.seen, axis=-1, keepdims=True)
        return self.seen / jnp.where(count > 0, count, 1.0)

    def evaluate(
        self,
        transition: TransitionOperator,
        policy: Float[Array, "S A"],
        discount: Float[Array, "S A"],
    ) -> "FittedEvaluation":
        """The policy, evaluated with the law seen so far; a factorization serves all questions."""
        known = jnp.any(self.seen > 0, axis=-1)
        # The policy as far as its actions are known; an unknown state is worth 0.
        policy = jnp.where(known, policy, 0.0)
        total = jnp.sum(policy, axis=-1, keepdims=True)
        policy = policy / jnp.where(total > 0, total, 1.0)
        # Rows of what was never seen are 0, so that the discount is not the same everywhere.
        system = PolicySystem(transition.reweighted(self.law()), policy * discount, None)
        solver = AutoLinear().resolve(system)
        state = solver.prepare(system, solver.init(system))
        return FittedEvaluation(known, policy, discount, system, solver, state)


class FittedEvaluation(NamedTuple):
    """A policy in the world of the transitions seen: its values, and where it leads."""

    known: Bool[Array, "S A"]
    policy: Float[Array, "S A"]
    discount: Float[Array, "S A"]
    system: PolicySystem
    solver: LinearSolver
    state: State

    def advantage(self, reward: Float[Array, "S A"]) -> Float[Array, "S A"]:
        """The advantage Q̂ - Σ_a π Q̂ of a reward; 0 for actions never seen."""
        gain = jnp.sum(self.policy * reward, axis=-1)
        value = self._solve(gain, False)
        q = reward + self.discount * self.system.transition.expect(value)
        return jnp.where(self.known, q - value[:, None], 0.0)

    def visits_after(self, start: Float[Array, "S A"]) -> Float[Array, "S A"]:
        """The discounted visits that follow upon signed visits `start`, those excluded."""
        arrivals = self.system.transition.push(self.discount * start)
        return self._solve(arrivals, True)[:, None] * self.policy

    def _solve(self, b, transposed):
        return linear_solve(self.system, b, transposed, self.solver, self.state)
