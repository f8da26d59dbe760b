"""`RayEngine`: a Ray cluster does the cells, one task each."""

import contextlib
import dataclasses
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sobirl.core.errors import InvalidInputError
from sobirl.sweeps.engines import ATTEMPTS, batches
from sobirl.sweeps.folder import SweepFolder
from sobirl.sweeps.work import Answer, Job, Settings, work_in_this_process

# Seconds in which a task that is canceled should have saved what it has.
_GRACE = 60.0
_CONNECT_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class RayEngine:
    """A Ray cluster: that of the address, or of RAY_ADDRESS, or of this machine, or a new one here.

    Every machine of it needs sobirl, and the sweep's folder under the same path. A task whose
    process or machine dies is done again, from its last checkpoint.

    Args:
        address: of the cluster, for example "auto" or "ray://head:10001".
        cpus: processors that a cell takes.
        gpus: GPUs that a cell takes, perhaps a part of one.
        batch: the most cells that are computed in one program; 1 for each by itself.
    """

    address: str | None = None
    cpus: float | int = 1
    gpus: float | int = 0
    batch: int | None = None

    def __post_init__(self):
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise InvalidInputError(
                "engine ray needs a further package: pip install 'sobirl[ray]'"
            ) from error
        if self.batch is not None and self.batch < 1:
            raise InvalidInputError(f"batch: must be at least 1, got {self.batch}")
        for name in ("cpus", "gpus"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InvalidInputError(f"{name}: must be 0 or more, got {getattr(self, name)}")

    def carry_out(
        self, groups: Sequence[Sequence[Job]], settings: Settings
    ) -> Iterator[Answer | None]:
        """See `Engine`."""
        import ray

        with self._cluster():
            given = batches(groups, self._slots(), self.batch)
            task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=ATTEMPTS - 1)(
                _task
            )
            told = dataclasses.asdict(settings)
            tasks = {
                task.remote(told, [dataclasses.asdict(j) for j in jobs]): jobs for jobs in given
            }
            left = list(tasks)
            try:
                while left:
                    ended, left = ray.wait(left, timeout=0.2)
                    for reference in ended:
                        yield from _answers(reference, tasks[reference], settings)
                    yield None
            finally:
                for reference in left:
                    ray.cancel(reference)  # a KeyboardInterrupt there, which saves what was done
                if left:
                    ray.wait(left, num_returns=len(left), timeout=_GRACE)

    def _slots(self) -> int:
        """How many cells the cluster can work on at the same time.

        Raises:
            InvalidInputError: none, and Ray would wait for ever for a machine to join.
        """
        import ray

        resources = ray.cluster_resources()
        wanted = (("cpus", "CPU", self.cpus), ("gpus", "GPU", self.gpus))
        slots = [int(resources.get(key, 0) // count) for _, key, count in wanted if count]
        for name, key, count in wanted:
            if count > resources.get(key, 0):
                raise InvalidInputError(
                    f"{name}: the cluster has {resources.get(key, 0):g}, got {count:g} for a cell; "
                    "start a machine that has them first"
                )
        return min(slots, default=len(ray.nodes()))

    @contextlib.contextmanager
    def _cluster(self) -> Iterator[None]:
        """Connect, unless the program has; and disconnect then."""
        import ray

        if ray.is_initialized():
            yield
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        _require_answer(self.address or os.environ.get("RAY_ADDRESS", ""))
        try:
            with _kept_signals():
                ray.init(address=self.address, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InvalidInputError(
                f"address: cannot connect to a Ray cluster: {str(error).splitlines()[0]}"
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


def _require_answer(address: str) -> None:
    """Raise where no program answers at an address; Ray would try for minutes.

    Raises:
        InvalidInputError: with the address.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return  # "auto", "local" or none
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InvalidInputError(f"address: no cluster answers at {address} ({error})") from error


@contextlib.contextmanager
def _kept_signals() -> Iterator[None]:
    """Within it, nobody changes what SIGTERM does: after it, a sweep is stopped as by Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _task(settings: dict, jobs: list[dict]) -> list[dict]:
    """What a Ray worker does: the same as any worker."""
    answers = work_in_this_process(Settings(**settings), [Job(**job) for job in jobs])
    return [dataclasses.asdict(answer) for answer in answers]


def _answers(reference: Any, jobs: Sequence[Job], settings: Settings) -> list[Answer]:
    """Of a task that has ended."""
    import ray

    try:
        return [Answer(**answer) for answer in ray.get(reference)]
    except ray.exceptions.RayError as error:
        folder = SweepFolder(Path(settings.folder))
        what = InvalidInputError(
            f"Ray gave it up after {ATTEMPTS} times: {str(error).splitlines()[0]}",
            details=str(error),
        )
        undone = {job.id for job in jobs if not folder.is_done(job.id)}
        return [
            Answer(job.id, folder.write_error(job.id, what) if job.id in undone else "")
            for job in jobs
        ]
