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


def paired_seconds(first: Callable, second: Callable, repeats: int) -> tuple[float, float, float]:
    """Median times of two calls made in turn, and the median of the ratios second/first.

    In turn, because a shared machine's speed drifts: both calls of a pair see the same speed.
    """
    times = []
    for repeat in range(repeats + 1):
        pair = []
        for call in (first, second):
            start = time.perf_counter()
            jax.block_until_ready(call())
            pair.append(time.perf_counter() - start)
        if repeat:  # the first pair warms up
            times.append(pair)
    return (
        statistics.median(a for a, _ in times),
        statistics.median(b for _, b in times),
        statistics.median(b / a for a, b in times),
    )
