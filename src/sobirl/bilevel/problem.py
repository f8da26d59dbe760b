"""The bilevel problem: a follower that answers, and an objective that judges the answer."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key, PyTree

from sobirl.core.checks import Checked, Numbers, as_float_array, check, check_shape
from sobirl.core.errors import InvalidInputError
from sobirl.core.methods import hashed_by_identity
from sobirl.core.protocols import LowerLevel
from sobirl.core.response import Response
from sobirl.mdp import SoftMDP
from sobirl.solvers import solve


class BilevelProblem(eqx.Module):
    """Minimize φ(x) = Σ_c weight_c f(x, response of follower(x, c), c) over the leader's x.

    Args:
        follower: `follower(x)` gives the lower level, a `SoftMDP`; with contexts
            `follower(x, context)`.
        objective: `objective(x, response)` gives the scalar f to be *minimized*; with contexts
            `objective(x, response, context)`. `response` has `value`, `q`, `log_policy`, `policy`.
        contexts: a pytree of arrays with a leading context axis (the goals that may be drawn, the
            types of agents, ...); None for a single lower level.
        weights: the contexts' weights (C,), for example probabilities, taken as they are; 1/C
            each by default.

    Raises:
        InvalidInputError: contexts of different sizes, or weights that do not match them.

    Source: Yang, Gao, Yuan (2025), problem (1); contexts as in Thoma et al. (2024).
    """

    follower: Callable[..., Any]
    objective: Callable[..., ArrayLike]
    contexts: PyTree | None = None
    weights: Float[Array, "C"] | None = None
    temperature_factor: Float[Array, ""] | None = None  # set by `at_temperature`

    def __init__(
        self,
        follower: Checked[Callable[..., SoftMDP | LowerLevel]],
        objective: Checked[Callable[..., ArrayLike]],
        contexts: PyTree | None = None,
        weights: Numbers | None = None,
    ):
        for name, function in (("follower", follower), ("objective", objective)):
            if not callable(function):
                raise InvalidInputError(
                    f"{name}: expected a function, got {type(function).__name__}"
                )
        self.follower, self.objective = follower, objective
        self.contexts = contexts
        self.weights = None
        self.temperature_factor = None
        if contexts is None:
            if weights is not None:
                raise InvalidInputError("weights: given without contexts")
            return
        sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(contexts)}
        if len(sizes) != 1 or () in sizes or (0,) in sizes:
            raise InvalidInputError(
                "contexts: every array needs the same leading axis, one entry a context; got "
                f"leading axes {sorted(sizes)}"
            )
        (count,) = sizes.pop()
        if weights is None:
            self.weights = jnp.full(count, 1 / count)
            return
        self.weights = as_float_array("weights", weights, "must not be negative", lambda w: w >= 0)
        check_shape("weights", self.weights, (count,))
        check("weights", self.weights.sum(), self.weights.sum() > 0, "must not all be 0")

    def lower(self, x: PyTree, context: PyTree = None) -> PyTree:
        """The lower level that the leader's x sets up (in one context)."""
        lower = self.follower(x) if self.contexts is None else self.follower(x, context)
        if self.temperature_factor is None:
            return lower
        return eqx.tree_at(
            lambda m: m.temperature, lower, lower.temperature * self.temperature_factor
        )

    def upper(
        self, x: PyTree, response: Response | PyTree, context: PyTree = None
    ) -> Float[Array, ""]:
        """The leader's objective at a response (in one context)."""
        args = (x, response) if self.contexts is None else (x, response, context)
        objective = jnp.asarray(self.objective(*args))
        if objective.shape != ():
            raise InvalidInputError(
                f"objective: must return one number to minimize, got shape {objective.shape}"
            )
        return objective

    def each_context(self, function: Callable, *args: PyTree) -> PyTree:
        """`function(context, *args)` for every context, with a context axis if there are any."""
        if self.contexts is None:
            return function(None, *args)
        return jax.vmap(function)(self.contexts, *args)

    def context_keys(self, key: Key[Array, ""]) -> Key[Array, "..."]:
        """An independent key for every context; the key itself without contexts."""
        if self.weights is None:
            return key
        return jax.random.split(key, len(self.weights))

    def average(self, tree: PyTree) -> PyTree:
        """The weighted sum over the context axis of every array, if there is one."""
        weights = self.weights
        if weights is None:
            return tree
        return jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, axes=1), tree)

    @hashed_by_identity
    def respond(self, x: PyTree, **options) -> Response:
        """The follower's response to x, with a context axis if there are contexts.

        `options` are those of `solve`.
        """
        return self.each_context(lambda context: solve(self.lower(x, context), **options))

    @hashed_by_identity
    def value(self, x: PyTree, **options) -> Float[Array, ""]:
        """φ(x), differentiable: `jax.grad(problem.value)(x)` is the exact hyper-gradient.

        `options` are those of `solve`.
        """

        def one(context):
            return self.upper(x, solve(self.lower(x, context), **options), context)

        return self.average(self.each_context(one))

    def at_temperature(self, factor: Float[Array, ""]) -> "BilevelProblem":
        """The same problem with a follower whose temperature is `factor` times as high."""
        return eqx.tree_at(
            lambda p: p.temperature_factor, self, factor, is_leaf=lambda leaf: leaf is None
        )
