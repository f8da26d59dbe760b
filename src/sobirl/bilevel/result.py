"""What `minimize` found."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import PyTree

from sobirl.bilevel.advice import advice_on
from sobirl.bilevel.loop import RunState
from sobirl.core.status import Status


@dataclasses.dataclass(frozen=True)
class Result:
    """What `minimize` found. Arrays are NumPy's; with several starts the best one is shown.

    Attributes:
        x: the iterate with the lowest objective, over all steps and starts; of a method whose
            objective is only an estimate (`MSoBiRL`), the last iterate of the best start.
        objective: φ at `x`, as the method saw it. NaN if no step had a finite one at the
            problem's own temperature.
        final_x: the last iterate of the best start.
        final_objective: φ at `final_x`.
        hypergradient_norm: ‖∇φ‖₂ at `final_x`.
        projected_gradient_norm: ‖x - P(x - ∇φ)‖₂ at `final_x`, P the projection; without one the
            same as `hypergradient_norm`.
        converged: whether that norm is below the asked tolerance.
        status: the worst `Status` of the best start's steps.
        advice: what to do about a run that did not converge or whose status is not good, in
            sentences; empty for one that did and is.
        best_start: which start it was.
        start_x: the best iterate of every start, with a leading start axis.
        start_objectives: φ at them, (starts,); NaN for a start that never had a finite objective.
        history: per step, (steps,) or with several starts (steps, starts): `hypergradient_norm`
            at x_k (and `projected_gradient_norm`, with a projection), `objective` at x_{k+1}, and
            the method's metrics at x_k. A start that was dropped (`rounds`) has NaN from then on,
            and 0 in columns of whole numbers.
        steps: outer steps taken.
        interrupted: whether Ctrl-C ended the run early.
        compile_seconds: time to trace and compile.
        run_seconds: time to run; over all parts of a run that a recorder took up again.
    """

    x: PyTree
    objective: float
    final_x: PyTree
    final_objective: float
    hypergradient_norm: float
    projected_gradient_norm: float
    converged: bool
    status: Status
    advice: str
    best_start: int
    start_x: PyTree
    start_objectives: np.ndarray
    history: dict[str, np.ndarray]
    steps: int
    interrupted: bool
    compile_seconds: float
    run_seconds: float

    def __str__(self) -> str:
        """One line: where the run ended and whether it can be trusted."""
        starts = len(self.start_objectives)
        norm = "projected ‖∇φ‖" if "projected_gradient_norm" in self.history else "‖∇φ‖"
        return (
            f"objective {self.objective:.6g}"
            + (f" (best of {starts} starts)" if starts > 1 else "")
            + f", {norm} {self.projected_gradient_norm:.1e} after {self.steps} steps, "
            + ("converged" if self.converged else "not converged")
            + f", {self.run_seconds:.2f} s after {self.compile_seconds:.1f} s of compilation"
            + (f". {self.advice}" if self.advice else "")
        )


def make_result(
    final_x: PyTree,
    after: RunState,
    records: dict[str, np.ndarray],
    tolerance: float,
    advise: Callable[[Status], str],
    **more,
) -> Result:
    """A result from the end of a run.

    Args:
        final_x: the last iterates.
        after: the state one step after them, for whose best the last iterates were judged.
        records: the rows of every step and of that further one, (steps + 1, *starts).
        tolerance: `converged` means a norm below it.
        advise: what to do about a status.
        more: the fields of `Result` that only the caller knows.
    """
    history = shifted_history(records)
    last = {name: np.atleast_1d(rows[-1]) for name, rows in records.items()}
    one_start = np.ndim(after.step) == 0
    best_x, final_x = jax.tree.map(
        lambda leaf: np.asarray(leaf)[None] if one_start else np.asarray(leaf),
        (after.best_x, final_x),
    )
    objectives = np.atleast_1d(after.best_objective)
    reached = np.atleast_1d(after.step)
    # Of starts in rounds one that went on to the end: those before were only better by estimate.
    finalists = np.flatnonzero(reached == reached.max())
    best = int(finalists[np.argmin(objectives[finalists])])
    objectives = np.where(np.isfinite(objectives), objectives, np.nan)
    steps = len(history["objective"])
    statuses = history["status"].reshape(steps, -1)[:, best] if steps else np.zeros(0, int)
    norm = float(stationarity(last)[best])
    status = Status(int(max(statuses.max(initial=0), last["status"][best])))
    norms = stationarity(records).reshape(steps + 1, -1)[:, best]
    return Result(
        x=jax.tree.map(lambda leaf: leaf[best], best_x),
        objective=float(objectives[best]),
        final_x=jax.tree.map(lambda leaf: leaf[best], final_x),
        final_objective=float(last["objective"][best]),
        hypergradient_norm=float(last["hypergradient_norm"][best]),
        projected_gradient_norm=norm,
        converged=norm < tolerance,
        status=status,
        advice=advice_on(status, norms, tolerance, advise),
        best_start=best,
        start_x=best_x,
        start_objectives=objectives,
        history=history,
        steps=steps,
        **more,
    )


def shifted_history(records: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The rows that people see, one fewer than there are records.

    Methods report the objective at the x before a step; a row shows the one after it.
    """
    return {name: rows[1:] if name == "objective" else rows[:-1] for name, rows in records.items()}


def stationarity(records: dict[str, np.ndarray]) -> np.ndarray:
    """The norm that must vanish at a solution: the projected gradient's, if there is one."""
    return records.get("projected_gradient_norm", records["hypergradient_norm"])
