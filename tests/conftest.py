"""Set-up of the test run: double precision, checked array shapes, cached compilation."""

import ctypes
import gc
import os
import signal
from pathlib import Path

from quick_compilation import flags

os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".cache/jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("XLA_FLAGS", flags())
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")  # lines of source take time
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: more would only wait

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

# A compiled program holds some megabyte, and memory maps, of which Linux gives a process
# 65,530. They are dropped where a file ends, which is where few are needed again, or else later.
MOST_BYTES_AFTER_A_FILE, MOST_BYTES, MOST_MAPS = 1.45e9, 1.65e9, 40_000
C_LIBRARY = ctypes.CDLL(None) if os.name == "posix" else None


def resident() -> float:
    """Bytes of memory that this process holds; 0 where there is no telling."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def memory_maps() -> int:
    maps = Path("/proc/self/maps")
    return maps.read_bytes().count(b"\n") if maps.exists() else 0


# What JAX makes while it compiles is many objects and few cycles.
gc.set_threshold(10_000, 20, 20)


def pytest_collection_finish():
    """What is loaded by now stays: no need to look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    ends = nextitem is None or nextitem.path != item.path
    many = ends and memory_maps() > MOST_MAPS
    if many or resident() > (MOST_BYTES_AFTER_A_FILE if ends else MOST_BYTES):
        jax.clear_caches()
        gc.collect()
        if hasattr(C_LIBRARY, "malloc_trim"):  # glibc keeps what is freed
            C_LIBRARY.malloc_trim(0)


@pytest.fixture
def unrendered(monkeypatch):
    """Figures are made as ever, but a file is one pixel: to render one takes 0.2 s.

    `tests/docs/test_code_blocks.py` runs each command once with its figures rendered.
    """
    from matplotlib.figure import Figure
    from PIL import Image

    pixel = Image.new("1", (1, 1))
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: pixel.save(file, format="png"))
