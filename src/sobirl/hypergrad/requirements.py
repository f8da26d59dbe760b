"""What methods ask of a problem before they start."""

from jaxtyping import PyTree

from sobirl.core.errors import InvalidInputError
from sobirl.core.protocols import Problem
from sobirl.mdp import SoftMDP


def soft_mdp(method: str, problem: Problem, x: PyTree, context: PyTree) -> SoftMDP:
    """The lower level at x, for a method that needs its Bellman equation.

    Raises:
        InvalidInputError: the follower gives something else than a `SoftMDP`.
    """
    lower = problem.lower(x, context)
    if not isinstance(lower, SoftMDP):
        raise InvalidInputError(
            f"follower: must return a SoftMDP for {method}, got {type(lower).__name__}"
        )
    return lower
