"""The contracts between the layers: what a problem offers and what a method must provide."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

from jaxtyping import Array, Float, Key, PyTree

from sobirl.core.response import Response

Answer_co = TypeVar("Answer_co", covariant=True)


@runtime_checkable
class LowerLevel(Protocol[Answer_co]):
    """A follower other than a `SoftMDP`: any pytree that answers with its own `solve`.

    What it answers is what the leader's objective sees.
    """

    def solve(self, *, initial_value: Any = None, throw: bool = True) -> Answer_co:
        """The follower's response, from an initial value; an error, if asked, where it failed."""
        ...


@runtime_checkable
class Problem(Protocol):
    """What a method sees of a bilevel problem; `sobirl.BilevelProblem` is one.

    Most methods need no more of the objective than `upper`; those that work from trajectories look
    at `objective` itself, which has to be one that they know.
    """

    objective: Callable

    def lower(self, x: PyTree, context: PyTree = None) -> PyTree:
        """The lower level that x sets up in a context."""

    def upper(self, x: PyTree, response: Response, context: PyTree = None) -> Float[Array, ""]:
        """The objective, to be minimized, at a response in a context."""

    def each_context(self, function: Callable, *args: PyTree) -> PyTree:
        """`function(context, *args)` for every context."""

    def context_keys(self, key: Key[Array, ""]) -> Key[Array, "..."]:
        """An independent key for every context, to go with `each_context`."""

    def average(self, tree: PyTree) -> PyTree:
        """The weighted sum over contexts."""


@runtime_checkable
class Method(Protocol):
    """A way to get the hyper-gradient ∇φ(x): a record of two pure functions on pytrees.

    Numbers in a method are pytree leaves, so that step sizes can be batched with `vmap`. What it
    may have beside these functions:

    * `objective_is_exact`: whether the `objective` that it reports is φ(x) itself, so that iterates
      can be compared by it; False where it is missing.
    * `advice(status)`: what to do about a `sobirl.Status`; None for the status's own advice.
    * `needs`: what it asks of a problem, a `sobirl.hypergrad.Needs`.

    `sobirl.testing.check_method` checks a method for all that is asked of it.
    """

    def init(self, problem: Problem, x: PyTree, key: Key[Array, ""]) -> Any:
        """The method's state before the first estimate."""

    def estimate(
        self, problem: Problem, x: PyTree, state: Any, key: Key[Array, ""]
    ) -> tuple[PyTree, Any, dict[str, Array]]:
        """An estimate of ∇φ(x), the next state, and scalar metrics.

        The metrics have at least `objective` (f at x and the method's response) and `status`
        (the worst `sobirl.Status` of this step).
        """
