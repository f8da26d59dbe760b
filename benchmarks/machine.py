"""What a measured figure needs beside it: the machine and the versions."""

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax


def header() -> str:
    """One line: processor, cores, Python, JAX and sobirl."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("jax", "jaxlib", "sobirl")
    )
    return (
        f"{model}, {os.cpu_count()} cores, {jax.default_backend()}; "
        f"Python {platform.python_version()}, {versions}"
    )


def median_seconds(call: Callable, repeats: int) -> float:
    """The median time of `call()`, after one call that is not counted."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return statistics.median(times)
