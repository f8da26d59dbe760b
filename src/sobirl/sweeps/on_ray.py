"""`RayEngine`: a Ray cluster does the cells, one task each."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from sobirl.core.errors import InvalidInputError
from sobirl.sweeps.engines import ATTEMPTS, Answer
from sobirl.sweeps.folder import SweepFolder
from sobirl.sweeps.work import Job, Settings, work_in_this_process

# Seconds in which a task that is canceled should have saved what it has.
_GRACE = 60.0


@dataclasses.dataclass(frozen=True)
class RayEngine:
    """A Ray cluster: that of the address, or of RAY_ADDRESS, or of this machine, or a new one here.

    Every machine of it needs sobirl, and the sweep's folder under the same path. A task whose
    process or machine dies is done again, from its last checkpoint.

    Args:
        address: of the cluster, for example "auto" or "ray://head:10001".
        cpus: processors that a cell takes.
        gpus: GPUs that a cell takes, perhaps a part of one.
    """

    address: str | None = None
    cpus: float | int = 1
    gpus: float | int = 0

    def __post_init__(self):
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise InvalidInputError(
                "engine ray needs a further package: pip install 'sobirl[ray]'"
            ) from error
        for name in ("cpus", "gpus"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InvalidInputError(f"{name}: must be 0 or more, got {getattr(self, name)}")

    def carry_out(self, jobs: Sequence[Job], settings: Settings) -> Iterator[Answer | None]:
        """See `Engine`."""
        import ray

        with self._cluster():
            task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=ATTEMPTS - 1)(
                _task
            )
            told = dataclasses.asdict(settings)
            tasks = {task.remote(told, dataclasses.asdict(job)): job for job in jobs}
            left = list(tasks)
            try:
                while left:
                    ended, left = ray.wait(left, timeout=0.2)
                    for reference in ended:
                        yield Answer(tasks[reference].id, self._error(reference, tasks, settings))
                    yield None
            finally:
                for reference in left:
                    ray.cancel(reference)  # a KeyboardInterrupt there, which saves what was done
                if left:
                    ray.wait(left, num_returns=len(left), timeout=_GRACE)

    def _error(self, reference, tasks: dict, settings: Settings) -> str:
        """What went wrong with a task that has ended."""
        import ray

        try:
            return ray.get(reference)
        except ray.exceptions.RayError as error:
            folder = SweepFolder(Path(settings.folder))
            what = InvalidInputError(f"Ray gave it up: {str(error).splitlines()[0]}")
            what.details = str(error)
            return folder.write_error(tasks[reference].id, what)

    @contextlib.contextmanager
    def _cluster(self) -> Iterator[None]:
        """Connect, unless the program has; and disconnect then."""
        import ray

        if ray.is_initialized():
            yield
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray.init(address=self.address, log_to_driver=False, logging_level="warning")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InvalidInputError(
                f"address: cannot connect to a Ray cluster: {str(error).splitlines()[0]}"
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


def _task(settings: dict, job: dict) -> str:
    """What a Ray worker does: the same as any worker."""
    return work_in_this_process(Settings(**settings), Job(**job))
