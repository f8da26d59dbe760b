"""A preconditioner for independent components: as if none of them ever waited for another."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobirl.core.errors import InvalidInputError
from sobirl.mdp import PolicySystem, Product, TransitionOperator

# A component table of this many states costs as much as a sweep of a big list.
_MOST_STATES = 2000
# Rows of a power of a table that differ by less have forgotten where they began.
_FORGOTTEN = 1e-2


@dataclasses.dataclass(frozen=True)
class Kronecker:
    """(I - γ P̄_1 ⊗ ... ⊗ P̄_K)^{-1}, nearly, for a law that is a `Product`.

    P̄_i(w'|w) = Σ_a E[π(a|s) | s_i = w] P_i(w'|w, c_i(a)), the mean over the others' states taken as
    uniform: each component as it moves if the policy looks at nothing else. Powers of a Kronecker
    product are those of its factors, so that the inverse is a product too,

        (I - γP̄)^{-1} = Π_j (I + (γP̄)^{2^j}),

    each factor of which costs S·Σ_i M_i. It is cut off where the tables have forgotten where they
    began, or at 2^j > 1/(1-γ).

    Source: the doubling of Neumann's series; Kronecker preconditioners of stochastic automata
    networks: Langville and Stewart (2004).
    """

    @staticmethod
    def suits(transition: TransitionOperator) -> bool:
        """Whether a law has at least two components, none of them large."""
        return (
            isinstance(transition, Product)
            and len(transition.sizes) > 1
            and max(transition.sizes) <= _MOST_STATES
        )

    def inverse(self, system: PolicySystem, transposed: bool):
        """The function that multiplies with the approximate inverse, or with its transpose.

        Raises:
            InvalidInputError: the law is no product of small components.
        """
        law = system.transition
        if not (isinstance(law, Product) and self.suits(law)):
            raise InvalidInputError(
                "preconditioner: Kronecker() needs a Product of two or more laws with at most "
                f"{_MOST_STATES} states each, got {type(law).__name__}"
            )
        tables = _tables(law, system.weights)
        discount = jnp.mean(jnp.sum(system.weights, axis=-1))
        if transposed:
            tables = [table.T for table in tables]

        def unfinished(carry):
            _, tables, _, length = carry
            spread = [jnp.max(jnp.ptp(t, axis=int(transposed))) for t in tables]
            far = jnp.max(jnp.array(spread)) > _FORGOTTEN
            return (far & (length * (1 - discount) < 1)) | (length == 1)

        def double(carry):
            x, tables, factor, length = carry
            x = x + factor * _apply(tables, x)
            return x, [table @ table for table in tables], factor**2, 2 * length

        def multiply(b: Float[Array, "S"]) -> Float[Array, "S"]:
            begin = (b, tables, discount, jnp.ones((), b.dtype))
            return jax.lax.while_loop(unfinished, double, begin)[0]

        return multiply


def _tables(law: Product, weights: Float[Array, "S A"]) -> list[Float[Array, "_ _"]]:
    """P̄_i of every component."""
    policy = weights / jnp.maximum(jnp.sum(weights, axis=-1, keepdims=True), 1e-300)
    joint = policy.reshape(*law.sizes, -1)
    tables = []
    for index, component in enumerate(law.components):
        others = tuple(other for other in range(len(law.sizes)) if other != index)
        own = jnp.mean(joint, axis=others)  # of joint actions
        actions = jnp.array([actions[index] for actions in law.component_actions])
        own = jnp.zeros(component.shape, own.dtype).at[:, actions].add(own)
        tables.append(component.matrix(own))
    return tables


def _apply(tables: list[Float[Array, "_ _"]], x: Float[Array, "S"]) -> Float[Array, "S"]:
    """(P̄_1 ⊗ ... ⊗ P̄_K) x, one component after another."""
    sizes = [len(table) for table in tables]
    for index, table in enumerate(tables):
        grid = x.reshape(math.prod(sizes[:index]), sizes[index], -1)
        x = jnp.einsum("mn,bnc->bmc", table, grid)
    return x.reshape(-1)
