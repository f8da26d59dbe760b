"""The linear system of policy evaluation, I - γP_π, as an operator."""

import equinox as eqx
import jax.numpy as jnp
from jax.experimental.sparse import BCOO
from jaxtyping import Array, Float

from sobirl.mdp.transitions import TransitionOperator


class PolicySystem(eqx.Module):
    """I - γP_π with γP_π(s,s') = Σ_a γ(s,a) π(a|s) P(s'|s,a).

    Products with it and with its transpose cost one `expect` or one `push`; nothing of size S×S
    is formed unless a linear solver asks for `as_matrix`.

    Attributes:
        transition: the law P.
        weights: γ(s,a) π(a|s), (S,A).
        discount: γ if it is the same everywhere, else None; iterative solvers know more then.
    """

    transition: TransitionOperator
    weights: Float[Array, "S A"]
    discount: Float[Array, ""] | None

    @property
    def size(self) -> int:
        """S."""
        return self.transition.shape[0]

    def mv(self, values: Float[Array, "S"]) -> Float[Array, "S"]:
        """(I - γP_π) v: one `expect`."""
        return values - jnp.sum(self.weights * self.transition.expect(values), axis=-1)

    def rmv(self, visits: Float[Array, "S"]) -> Float[Array, "S"]:
        """(I - γP_π)ᵀ w: one `push`."""
        return visits - self.transition.push(self.weights * visits[:, None])

    def as_matrix(self) -> Float[Array, "S S"]:
        """The matrix itself, for dense solvers."""
        moves = self.transition.matrix(self.weights)
        return jnp.eye(self.size, dtype=moves.dtype) - moves

    def as_sparse(self) -> BCOO:
        """The matrix as its entries, for sparse direct solvers; repeated ones add up."""
        moves = self.transition.sparse(self.weights)
        diagonal = jnp.arange(self.size, dtype=moves.indices.dtype)
        places = jnp.concatenate([jnp.stack([diagonal, diagonal], axis=-1), moves.indices])
        entries = jnp.concatenate([jnp.ones(self.size, moves.data.dtype), -moves.data])
        return BCOO((entries, places), shape=(self.size, self.size))
