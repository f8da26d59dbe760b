"""Set-up of the test run: double precision, checked array shapes, cached compilation."""

import os
from pathlib import Path

os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".cache/jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Most of the tests' time is compilation, of programs that then run for milliseconds. A jaxlib that
# does not know a flag says so and ends; then set XLA_FLAGS to what it knows.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
)

import hypothesis
import jax
import jaxtyping
import pytest

jax.config.update("jax_enable_x64", True)
jaxtyping.install_import_hook("sobirl", "beartype.beartype")

hypothesis.settings.register_profile(
    "sobirl",
    deadline=None,
    max_examples=10,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("sobirl")


@pytest.fixture(autouse=True, scope="module")
def few_memory_maps():
    """Compiled programs take memory maps, of which Linux gives a process 65,530."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 30_000:
        jax.clear_caches()
