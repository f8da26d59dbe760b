"""Set-up of the test run: double precision, checked array shapes, cached compilation."""

import gc
import importlib.metadata
import os
import signal
from pathlib import Path

os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".cache/jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Most of the tests' time is compilation, of programs that then run for milliseconds. A jaxlib that
# does not know a flag ends the process: only versions stand here with which the flags were tried.
QUICK_COMPILATION = {
    "0.9": "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false",
    "0.10": "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false",
}
JAXLIB = ".".join(importlib.metadata.version("jaxlib").split(".")[:2])
os.environ.setdefault("XLA_FLAGS", QUICK_COMPILATION.get(JAXLIB, ""))

import hypothesis
import jax
import jaxtyping
import pytest

jax.config.update("jax_enable_x64", True)
jaxtyping.install_import_hook("sobirl", "beartype.beartype")

pytest_plugins = ["compile_report"]

hypothesis.settings.register_profile(
    "sobirl",
    deadline=None,
    max_examples=10,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("sobirl")

# A shell without job control starts what runs in its background with Ctrl-C ignored.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Where compiled programs are dropped: Linux gives a process 65,530 memory maps, and each program
# takes some.
MOST_MEMORY, MOST_MAPS = 1.2e9, 30_000


def resident() -> float:
    """Bytes of memory that this process holds, 0 where that is not to be known."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def memory_maps() -> int:
    maps = Path("/proc/self/maps")
    return maps.read_bytes().count(b"\n") if maps.exists() else 0


@pytest.fixture(autouse=True, scope="module")
def bounded_memory():
    yield
    if resident() > MOST_MEMORY or memory_maps() > MOST_MAPS:
        jax.clear_caches()
        gc.collect()
