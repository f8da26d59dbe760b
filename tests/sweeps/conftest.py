"""A command that waits, and both engines."""

import dataclasses
import importlib
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from sobirl.experiments.registry import EXPERIMENTS
from sobirl.sweeps import LocalEngine, RayEngine

TESTS = Path(__file__).parents[1]
MODULE = "sweeps.waiting"


@dataclasses.dataclass(frozen=True)
class Diary:
    """What the runs of `waiting` write down, and how they are let go."""

    folder: Path

    def go(self, seed=None):
        (self.folder / ("go" if seed is None else f"go-{seed}")).touch()

    def notes(self):
        """(begin or end, seed, process) of every note."""
        path = self.folder / "diary"
        lines = path.read_text().splitlines() if path.exists() else []
        words = (line.split() for line in lines)
        return [(what, int(seed), int(process)) for what, seed, process in words]

    def count(self, what):
        """How often each seed did it."""
        return Counter(seed for note, seed, _ in self.notes() if note == what)

    def wait(self, condition, seconds=90.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.notes()
            time.sleep(0.02)


@pytest.fixture
def diary(tmp_path, monkeypatch):
    """The command `waiting` is there, and is found from the current folder."""
    monkeypatch.chdir(TESTS)
    before = dict(EXPERIMENTS)
    module = importlib.import_module(MODULE)
    EXPERIMENTS.update(waiting=module.Waiting, together=module.Together)
    (tmp_path / "diary").mkdir()
    yield Diary(tmp_path / "diary")
    EXPERIMENTS.clear()
    EXPERIMENTS.update(before)


@pytest.fixture(scope="session")
def ray_cluster():
    """A cluster of this machine with two processors."""
    ray = pytest.importorskip("ray", reason="ray is not installed")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    before = signal.getsignal(signal.SIGTERM)  # which Ray changes
    ray.init(
        num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False
    )
    signal.signal(signal.SIGTERM, before)
    yield
    ray.shutdown()


@pytest.fixture(params=["local", "ray"])
def engine(request):
    """Either engine with two workers, each cell by itself."""
    if request.param == "local":
        return LocalEngine(workers=2, batch=1)
    request.getfixturevalue("ray_cluster")
    return RayEngine(batch=1)
