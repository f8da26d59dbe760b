"""What lets the tests' programs, that run for milliseconds, compile in half the time.

A jaxlib that does not know a flag ends the process without a word: only versions stand here with
which the flags were tried. Others compile as they do for users.
"""

import importlib.metadata

_QUICK = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
_QUICK += " --xla_cpu_parallel_codegen_split_count=1"  # programs too small to share out
_QUICK += " --xla_disable_hlo_passes=while-loop-invariant-code-motion,simplify-while-loops"
_TRIED = {"0.9": _QUICK, "0.10": _QUICK}


def flags() -> str:
    """Those for the jaxlib that is installed."""
    major, minor, *_ = importlib.metadata.version("jaxlib").split(".")
    return _TRIED.get(f"{major}.{minor}", "")
