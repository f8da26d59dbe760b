"""A process that forks children which record a made-up run until they are killed.

    python journal_process.py FOLDER STEPS KILLS SEED

Forking spares every child the seconds that importing takes. The parent kills each child with
SIGKILL at a random moment of its work, and lets the last one run to its end.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from sobirl.bilevel.loop import RunState
from sobirl.runs.journal import Journal
from sobirl.runs.metrics import CsvStream


def first_state() -> RunState:
    zero = np.zeros(())
    return RunState(
        x={"a": np.zeros(3)},
        optimizer_state=(np.zeros(20_000),),  # so that a checkpoint takes a moment to write
        method_state=None,
        step=np.zeros((), np.int32),
        key=np.zeros(2, np.uint32),
        best_x=np.zeros(3),
        best_objective=zero,
    )


def step(state: RunState) -> tuple[RunState, dict]:
    x = np.cos(state.x["a"] + np.arange(3))
    after = RunState(
        x={"a": x},
        optimizer_state=(state.optimizer_state[0] + x.sum(),),
        method_state=None,
        step=state.step + np.int32(1),
        key=state.key + np.uint32(7),
        best_x=x,
        best_objective=x.min(),
    )
    return after, {"objective": state.x["a"].sum()[None], "hypergradient_norm": x.sum()[None]}


def record(folder: Path, steps: int) -> None:
    journal = Journal(folder / "checkpoint.npz", 0.0, [CsvStream(folder / "metrics.csv")])
    saved = journal.restore(first_state())
    state = first_state() if saved is None else saved[0]
    while state.step < steps:
        state, rows = step(state)
        journal.record(state, rows, float(state.step))
    journal.save()


def main(folder: Path, steps: int, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    killed = 0
    while True:
        child = os.fork()
        if not child:
            record(folder, steps)
            os._exit(0)
        if killed < kills:
            time.sleep(rng.uniform(0, 0.06))
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if os.WIFEXITED(status):
            print(f"killed {killed}")
            sys.exit(os.WEXITSTATUS(status))
        killed += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
