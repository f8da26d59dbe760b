"""A worker process of `LocalEngine`: jobs come as lines of JSON, and a line answers each.

    python -m sobirl.sweeps.worker

The first line has the settings. The process ends with its standard input: at once if it has nothing
to do; otherwise, because then its sweep was killed, once what was done of the cell is kept.
"""

import contextlib
import dataclasses
import json
import os
import queue
import signal
import sys
import threading

from sobirl.bilevel.interrupts import termination_as_interrupt
from sobirl.sweeps.work import Job, Settings, work_in_this_process


def main() -> None:
    """Work until there is nothing left."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what experiments print goes to the log
    given: queue.Queue[list[Job] | None] = queue.Queue()
    busy = threading.Event()
    settings = Settings(**json.loads(sys.stdin.readline()))

    def read() -> None:
        for line in sys.stdin:
            busy.set()
            given.put([Job(**job) for job in json.loads(line)])
        if busy.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
        given.put(None)

    threading.Thread(target=read, daemon=True).start()
    while (jobs := given.get()) is not None:
        for answer in work_in_this_process(settings, jobs):
            if answer.id == jobs[-1].id:
                busy.clear()  # before its sweep knows, which may then let it end
            print(json.dumps(dataclasses.asdict(answer)), file=answers, flush=True)


if __name__ == "__main__":
    # Nobody is there to be told: the sweep says what there is to say, or is gone.
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError), termination_as_interrupt():
        main()
    os._exit(0)
