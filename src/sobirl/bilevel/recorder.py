"""What keeps a run while it goes on, so that it can be taken up again after any end."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import PyTree

Records = dict[str, np.ndarray]  # one row a step, (steps, *starts)


@runtime_checkable
class Recorder(Protocol):
    """The contract of `minimize(..., recorder=)`; `sobirl.Checkpoint` is one.

    Records are those of the method: row k holds the norms, the metrics and the objective at x_k.

    A recorder may have a `time_limit`: the seconds of steps after which the run ends, as if it had
    been asked for no more.
    """

    def restore(self, like: PyTree) -> tuple[PyTree, Records, float] | None:
        """The state that was saved last, all rows up to it, and the seconds that they took.

        `like` is the state before the first step, whose structure the saved one has. None if
        nothing was saved.
        """

    def record(self, state: PyTree, rows: Records, seconds: float) -> None:
        """Keep the state after some steps, their rows, and the seconds since the first step.

        The recorder decides how often it saves.
        """

    def save(self) -> None:
        """Save what was recorded last; called after the last step and on Ctrl-C."""
