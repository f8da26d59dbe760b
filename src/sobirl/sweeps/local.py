"""`LocalEngine`: worker processes of this machine, each of which does many cells."""

import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from sobirl.core.errors import InvalidInputError
from sobirl.sweeps.engines import ATTEMPTS, Answer
from sobirl.sweeps.folder import SweepFolder
from sobirl.sweeps.work import Job, Settings, cores

# Seconds in which a worker that is asked to end should have saved what it has.
_GRACE = 60.0


@dataclasses.dataclass(frozen=True)
class LocalEngine:
    """Worker processes of this machine.

    JAX is loaded, and a program compiled, once for the many cells of a worker. A worker that dies is
    replaced, and its cell is done again.

    Args:
        workers: how many; by default one a processor that this process may use.
    """

    workers: int | None = None

    def __post_init__(self):
        if self.workers is not None and self.workers < 1:
            raise InvalidInputError(f"workers: must be at least 1, got {self.workers}")

    def carry_out(self, jobs: Sequence[Job], settings: Settings) -> Iterator[Answer | None]:
        """See `Engine`."""
        folder = SweepFolder(Path(settings.folder))
        waiting, deaths = deque(jobs), dict.fromkeys((job.id for job in jobs), 0)
        events: queue.Queue[tuple[_Worker, str | None]] = queue.Queue()
        number = min(self.workers or cores(), len(jobs))
        workers = [_Worker(n, settings, number, events) for n in range(number)]
        left = len(jobs)
        try:
            while left:
                for worker in workers:
                    if worker.job is None and waiting:
                        worker.give(waiting.popleft())
                try:
                    worker, line = events.get(timeout=0.2)
                except queue.Empty:
                    yield None
                    continue
                job = worker.job
                if line is not None:
                    worker.job = None
                    left -= 1
                    yield Answer(**json.loads(line))
                    continue
                # It is dead.
                end = worker.end()
                workers[worker.number] = _Worker(worker.number, settings, number, events)
                if job is None:
                    continue
                deaths[job.id] += 1
                if deaths[job.id] < ATTEMPTS:
                    waiting.append(job)
                    continue
                left -= 1
                log = folder.path / "logs" / worker.log
                what = InvalidInputError(
                    f"its process ended {ATTEMPTS} times, by {end}; see {log}", details=""
                )
                yield Answer(job.id, folder.write_error(job.id, what))
        finally:
            _end(workers)


class _Worker:
    """A process, the job that it has, and a thread that passes on what it says."""

    def __init__(self, number: int, settings: Settings, workers: int, events: queue.Queue):
        self.number, self.log = number, f"worker-{number}.txt"
        self.job: Job | None = None
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

    def give(self, job: Job) -> None:
        """Have it do a job."""
        self.job = job
        self._say(dataclasses.asdict(job))

    def ask_to_end(self) -> None:
        """Let it end, or ask it to, if it has a job."""
        try:
            if self.job is not None:
                self.process.send_signal(signal.SIGTERM)
            if self.process.stdin is not None:
                self.process.stdin.close()
        except OSError:
            pass  # it is gone already

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

    def _say(self, content: dict) -> None:
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
