"""The choice of a linear solver by size and structure."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobirl.core.batching import sequential_on_cpu
from sobirl.mdp import Dense, PolicySystem, TransitionOperator
from sobirl.solvers.linear.base import LinearSolution, LinearSolver, State
from sobirl.solvers.linear.dense_lu import DenseLU
from sobirl.solvers.linear.kronecker import Kronecker
from sobirl.solvers.linear.krylov import Krylov
from sobirl.solvers.linear.sparse_lu import SparseLU
from sobirl.solvers.linear.sweeping import Sweeping

DENSE_STATES = 2000  # up to here dense factors are quick
SMALL_STATES = 500  # up to here nothing beats them by much, whatever the structure
LOCAL_BANDWIDTH = 5000  # up to here sparse factors of large systems stay small


def direct_solver(system: PolicySystem) -> LinearSolver:
    """The solver for systems in which sweeps are slow, by size and structure."""
    if system.size <= DENSE_STATES or isinstance(system.transition, Dense):
        return DenseLU()
    if Kronecker.suits(system.transition):
        return Krylov(restart=10, preconditioner=Kronecker())
    bandwidth = getattr(system.transition, "bandwidth", None)
    if bandwidth is not None and bandwidth <= min(LOCAL_BANDWIDTH, system.size // 10):
        return SparseLU()
    return Krylov()


def is_small(transition: TransitionOperator) -> bool:
    """Whether dense factors alone are best; full tables make sweeps dear."""
    most = DENSE_STATES if isinstance(transition, Dense) else SMALL_STATES
    return transition.shape[0] <= most


class AutoLinear(LinearSolver):
    """Dense LU for small systems; for others sweeps, and where those are slow a direct solver.

    Small are 500 states, or 2,000 of a full table. The direct solver is `DenseLU` up to 2,000
    states and for full tables, `SparseLU` where successors are near (grids, inventories, queues),
    `Krylov` where they are not, preconditioned where they are a `Product`.
    """

    name: ClassVar[str] = "auto"

    def resolve(self, system: PolicySystem) -> LinearSolver:
        """The solver that will do the work."""
        direct = direct_solver(system)
        return direct if is_small(system.transition) else SweepsFirst(direct)

    def solve(
        self,
        system: PolicySystem,
        b: Float[Array, "S"],
        state: State,
        rtol: float | Float[Array, ""],
        transposed: bool = False,
    ) -> LinearSolution:
        """As the chosen solver does."""
        return self.resolve(system).solve(system, b, state, rtol, transposed)


class SweepsFirst(LinearSolver):
    """Sweeps as long as they are worth it; then, or where it has factors already, a direct solver.

    Args:
        direct: solves what sweeps would take too long for, and all Newton steps.
        sweeping: makes the sweeps.
    """

    direct: LinearSolver
    sweeping: Sweeping = Sweeping()

    name: ClassVar[str] = "sweeps-first"

    @property
    def description(self) -> str:
        """With the direct solver that was chosen."""
        return f"{self.sweeping.name}, {self.direct.description}"

    @property
    def factorizes(self) -> bool:
        """As the direct solver does."""
        return self.direct.factorizes

    @property
    def verifies(self) -> bool:
        """As the direct solver does."""
        return self.direct.verifies

    def init(self, system: PolicySystem) -> tuple[State, State]:
        """Neither knows anything yet."""
        return self.direct.init(system), self.sweeping.init(system)

    def forget(self, state: tuple[State, State]) -> tuple[State, State]:
        """The direct solver's state has served."""
        return self.direct.forget(state[0]), state[1]

    def approximate(
        self, system: PolicySystem, b: Float[Array, "S"], state: tuple[State, State]
    ) -> LinearSolution:
        """A direct solver's step: sweeps were tried before Newton's method was."""
        got = self.direct.approximate(system, b, state[0])
        return eqx.tree_at(lambda g: g.state, got, (got.state, state[1]))

    def solve(
        self,
        system: PolicySystem,
        b: Float[Array, "S"],
        state: tuple[State, State],
        rtol: float | Float[Array, ""],
        transposed: bool = False,
    ) -> LinearSolution:
        """x by sweeps; or directly, from scratch."""
        arrays, rest = eqx.partition(self, eqx.is_array)

        # In a batch that is no loop every system would be solved both ways.
        @sequential_on_cpu
        def solve(arrays, *given):
            return eqx.combine(arrays, rest)._solve(*given, transposed)

        return solve(arrays, system, b, state, jnp.asarray(rtol, b.dtype))

    def _solve(self, system, b, state, rtol, transposed) -> LinearSolution:
        factors, earlier = state

        def sweep():
            return self.sweeping.solve(system, b, earlier, rtol, transposed)

        skipped = jax.eval_shape(sweep)
        skipped = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), skipped)
        skipped = eqx.tree_at(lambda s: s.state, skipped, earlier)
        swept = jax.lax.cond(_known(factors), lambda: skipped, sweep)

        def solve_directly():
            return self.direct.solve(system, b, factors, rtol, transposed)

        def keep():
            return eqx.tree_at(lambda s: s.state, swept, factors)

        got = jax.lax.cond(swept.ok, keep, solve_directly)
        work = jax.tree.map(lambda a, b: jnp.where(swept.ok, a, a + b), swept.work, got.work)
        return LinearSolution(
            got.solution, got.relative_residual, got.ok, (got.state, swept.state), work
        )


def _known(factors: State) -> Array:
    return getattr(factors, "known", jnp.array(False))
