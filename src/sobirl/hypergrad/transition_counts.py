"""Transitions counted along the way, and what a policy is worth according to them."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sobirl.solvers.linear import LU, factorize, linear_solve


class TransitionCounts(eqx.Module):
    """How often each transition was seen (S,A,S): the table from which values are fitted.

    Least-squares temporal differences with a table: the policy is evaluated as if transitions
    happened with the frequencies seen, whatever policy they were seen under. Where a state and
    action have never been seen, nothing is known, and their advantage is 0.
    """

    seen: Float[Array, "*C S A S"]

    @classmethod
    def empty(cls, states: int, actions: int, dtype) -> "TransitionCounts":
        """Nothing seen."""
        return cls(jnp.zeros((states, actions, states), dtype))

    def add(
        self,
        state: Int[Array, "*N"],
        action: Int[Array, "*N"],
        next_state: Int[Array, "*N"],
        live: Bool[Array, "*N"] | float = 1.0,
        memory: float | Float[Array, ""] = 1.0,
    ) -> "TransitionCounts":
        """With more transitions, as far as they are `live`; earlier ones count `memory` times."""
        seen = memory * self.seen
        return TransitionCounts(seen.at[state, action, next_state].add(live))

    def law(self) -> Float[Array, "S A S"]:
        """The frequencies of next states; 0 for what was never seen."""
        count = jnp.sum(self.seen, axis=-1, keepdims=True)
        return self.seen / jnp.where(count > 0, count, 1.0)

    def evaluate(
        self, policy: Float[Array, "S A"], discount: Float[Array, "S A"]
    ) -> "FittedEvaluation":
        """The policy, evaluated with the law seen so far; a factorization serves all questions."""
        law = self.law()
        known = jnp.any(self.seen > 0, axis=-1)
        # The policy as far as its actions are known; an unknown state is worth 0.
        policy = jnp.where(known, policy, 0.0)
        total = jnp.sum(policy, axis=-1, keepdims=True)
        policy = policy / jnp.where(total > 0, total, 1.0)
        matrix = jnp.einsum("sa,sat->st", policy * discount, law)
        system = jnp.eye(len(matrix), dtype=matrix.dtype) - matrix
        return FittedEvaluation(known, policy, discount, law, system, factorize(system))


class FittedEvaluation(NamedTuple):
    """A policy in the world of the transitions seen: its values, and where it leads."""

    known: Bool[Array, "S A"]
    policy: Float[Array, "S A"]
    discount: Float[Array, "S A"]
    law: Float[Array, "S A S"]
    system: Float[Array, "S S"]
    lu: LU

    def advantage(self, reward: Float[Array, "S A"]) -> Float[Array, "S A"]:
        """The advantage Q̂ - Σ_a π Q̂ of a reward; 0 for actions never seen."""
        gain = jnp.sum(self.policy * reward, axis=-1)
        value = linear_solve(self.system, gain, lu=self.lu)
        q = reward + self.discount * (self.law @ value)
        return jnp.where(self.known, q - value[:, None], 0.0)

    def visits_after(self, start: Float[Array, "S A"]) -> Float[Array, "S A"]:
        """The discounted visits that follow upon signed visits `start`, those excluded."""
        arrivals = jnp.einsum("sa,sat->t", self.discount * start, self.law)
        visits = linear_solve(self.system, arrivals, transposed=True, lu=self.lu)
        return visits[:, None] * self.policy
