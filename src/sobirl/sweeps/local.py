"""`LocalEngine`: worker processes of this machine, each of which does many cells."""

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sobirl.core.errors import InvalidInputError
from sobirl.sweeps.engines import ATTEMPTS, batches
from sobirl.sweeps.folder import SweepFolder
from sobirl.sweeps.work import Answer, Job, Settings, cores

# Seconds in which a worker that is asked to end should have saved what it has.
_GRACE = 60.0


@dataclasses.dataclass(frozen=True)
class LocalEngine:
    """Worker processes of this machine.

    JAX is loaded, and a program compiled, once for the many cells of a worker. A worker that dies
    is replaced, and its cell is done again.

    Args:
        workers: how many; by default one a processor that this process may use.
        batch: the most cells that are computed in one program; 1 for each by itself.
    """

    workers: int | None = None
    batch: int | None = None

    def __post_init__(self):
        for name in ("workers", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInputError(f"{name}: must be at least 1, got {value}")

    def carry_out(
        self, groups: Sequence[Sequence[Job]], settings: Settings
    ) -> Iterator[Answer | None]:
        """See `Engine`."""
        number = self.workers or cores()
        waiting = deque(batches(groups, number, self.batch))
        left = sum(map(len, waiting))
        deaths: Counter[str] = Counter()
        events: queue.Queue[tuple[_Worker, str | None]] = queue.Queue()
        number = min(number, len(waiting))
        workers: list[_Worker] = []
        try:
            workers += (_Worker(n, settings, number, events) for n in range(number))
            while left:
                for n, worker in enumerate(workers):
                    if waiting and not worker.jobs:
                        if worker.process.poll() is not None:
                            workers[n] = worker = _Worker(n, settings, number, events)
                        worker.give(waiting.popleft())
                try:
                    worker, line = events.get(timeout=0.2)
                except queue.Empty:
                    yield None
                    continue
                if line is not None:
                    answer = Answer(**json.loads(line))
                    del worker.jobs[answer.id]
                    left -= 1
                    yield answer
                    continue
                # It is dead. One of its cells may be to blame: they are done again one by one.
                end, jobs, worker.jobs = worker.end(), list(worker.jobs.values()), {}
                deaths.update(job.id for job in jobs[:1])
                for job in jobs:
                    if deaths[job.id] < ATTEMPTS:
                        waiting.appendleft([job])
                        continue
                    left -= 1
                    log = Path(settings.folder) / "logs" / worker.log
                    yield _gave_up(settings, job, f"{end}; see {log}")
        finally:
            _end(workers)


def _gave_up(settings: Settings, job: Job, end: str) -> Answer:
    error = InvalidInputError(f"its process ended {ATTEMPTS} times, the last one by {end}")
    return Answer(job.id, SweepFolder(Path(settings.folder)).write_error(job.id, error))


class _Worker:
    """A process, the jobs that it has, and a thread that passes on what it says."""

    def __init__(self, number: int, settings: Settings, workers: int, events: queue.Queue):
        self.log = f"worker-{number}.txt"
        self.jobs: dict[str, Job] = {}
        environment = dict(os.environ)
        if workers > 1:  # a GPU that they share is not for the first of them alone
            environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        with (Path(settings.folder) / "logs" / self.log).open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sobirl.sweeps.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the sweep, which tells its workers
            )
        self._say(dataclasses.asdict(settings))

        def listen() -> None:
            assert self.process.stdout is not None  # it has a pipe
            for line in self.process.stdout:
                if line.endswith("\n"):
                    events.put((self, line))
            events.put((self, None))

        threading.Thread(target=listen, daemon=True).start()

    def give(self, jobs: Sequence[Job]) -> None:
        """Have it do some jobs."""
        self.jobs = {job.id: job for job in jobs}
        self._say([dataclasses.asdict(job) for job in jobs])

    def ask_to_end(self) -> None:
        """Let it end; if it has something to do, once that is saved."""
        assert self.process.stdin is not None  # it has a pipe
        with contextlib.suppress(OSError):  # it is gone already
            self.process.stdin.close()

    def end(self) -> str:
        """Wait for it, or kill it.

        Returns:
            how it ended, in words.
        """
        try:
            code = self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def _say(self, content: Any) -> None:
        assert self.process.stdin is not None  # it has a pipe
        try:
            self.process.stdin.write(json.dumps(content) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it is dead, which its thread will say


def _end(workers: Sequence[_Worker]) -> None:
    """End all workers; a second Ctrl-C does not wait for what they still have to save."""
    try:
        for worker in workers:
            worker.ask_to_end()
        for worker in workers:
            worker.end()
    except BaseException:
        for worker in workers:
            worker.process.kill()
        raise
