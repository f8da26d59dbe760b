"""Solvers by name."""

import inspect

from sobirl.core.errors import InvalidInputError
from sobirl.solvers.solvers import Auto, PolicyIteration, Solver, ValueIteration

SOLVERS = {solver.name: solver for solver in (Auto, PolicyIteration, ValueIteration)}


def as_solver(solver: Solver | type | str | None) -> Solver:
    """A solver from itself, its class, its name, or None for `Auto()`.

    Raises:
        InvalidInputError: it is none of these.
    """
    if solver is None:
        return Auto()
    if isinstance(solver, str) and solver in SOLVERS:
        return SOLVERS[solver]()
    if inspect.isclass(solver) and issubclass(solver, Solver):
        return solver()
    if isinstance(solver, Solver):
        return solver
    raise InvalidInputError(
        f"solver: expected one of {', '.join(map(repr, SOLVERS))}, or a solver such as "
        f"sobirl.PolicyIteration(), got {solver!r}"
    )
