"""Compiled programs, kept between runs in a folder of the user's."""

import os


def keep_compiled_programs(wanted: bool) -> None:
    """Have JAX keep what it compiles, at most a gigabyte of it, unless told otherwise.

    JAX_COMPILATION_CACHE_DIR and its companions win. From Python: `jax.config.update(
    "jax_compilation_cache_dir", folder)` before anything is computed.

    Args:
        wanted: False leaves JAX as it is.
    """
    if not wanted or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    import jax
    import platformdirs

    folder = platformdirs.user_cache_path("sobirl") / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # a home that cannot be written to
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", 2**30)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
