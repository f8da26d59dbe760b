"""Who does the work of a sweep: the contract of engines, and how they share it out."""

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from sobirl.sweeps.work import Answer, Job, Settings

# A cell whose process dies so often (of too little memory, say) has failed.
ATTEMPTS = 3
# The most cells in one program; more gain little, and a failure sets more of them back.
LARGEST_BATCH = 16


@runtime_checkable
class Engine(Protocol):
    """`LocalEngine` and `RayEngine` are such; both call `work_in_this_process` in the end."""

    def carry_out(
        self, groups: Sequence[Sequence[Job]], settings: Settings
    ) -> Iterator[Answer | None]:
        """Carry out all jobs; a job whose process is killed is done again.

        Closing the iterator ends all work, of which what was done is kept.

        Args:
            groups: jobs that may share a program, see `batches`.
            settings: for every worker.

        Yields:
            the cells as they end, and None several times a second in between.
        """
        ...


def batches(
    groups: Sequence[Sequence[Job]], workers: int, largest: int | None
) -> list[Sequence[Job]]:
    """What one worker does in one go: every worker gets something of a group before one gets more.

    Args:
        groups: jobs that may share a program.
        workers: how many work at the same time.
        largest: the most cells in one go; None for `LARGEST_BATCH`.
    """
    found = []
    for group in groups:
        size = min(largest or LARGEST_BATCH, -(-len(group) // workers))
        number = -(-len(group) // size)
        size = -(-len(group) // number)  # of one size, as far as that is possible: one program
        found += [group[start : start + size] for start in range(0, len(group), size)]
    return found
