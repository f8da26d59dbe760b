"""Who does the work of a sweep: the contract of engines."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol

from sobirl.sweeps.work import Job, Settings

# A cell whose process dies so often (of too little memory, say) has failed.
ATTEMPTS = 3


@dataclasses.dataclass(frozen=True)
class Answer:
    """A cell that has ended.

    Attributes:
        id: of the cell.
        error: what went wrong; empty if nothing did.
    """

    id: str
    error: str


class Engine(Protocol):
    """`LocalEngine` and `RayEngine` are such; all call `work_in_this_process` in the end."""

    def carry_out(self, jobs: Sequence[Job], settings: Settings) -> Iterator[Answer | None]:
        """Carry out all jobs; a job whose process is killed is done again.

        Closing the iterator ends all work, of which what was done is kept.

        Yields:
            the cells as they end, and None several times a second in between.
        """
        ...
