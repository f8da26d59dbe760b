"""`x.npz`: the x that a run found, its arrays named by their place in the pytree."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from sobirl.core.errors import InvalidInputError

_WHOLE = "x"


def solution_bytes(x: Any) -> bytes:
    """The file's contents."""
    import jax

    leaves = jax.tree_util.tree_flatten_with_path(x)[0]
    arrays: dict[str, Any] = {_name(path): np.asarray(leaf) for path, leaf in leaves}
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def read_solution(path: Path, like: Any = None) -> Any:
    """The x of a run.

    Args:
        path: an `x.npz`.
        like: a pytree with the structure that x has, for example x0.

    Returns:
        x as `like` is; without, the array, or a dictionary of arrays by their place.

    Raises:
        InvalidInputError: the file is missing, damaged, or does not have the structure.
    """
    if not path.is_file():
        raise InvalidInputError(f"{path}: there is no x (the run has not ended, or has none)")
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = dict(file)
    except Exception as error:  # whatever zipfile, zlib and NumPy make of bytes that are no file
        raise InvalidInputError(f"{path}: is damaged") from error
    if like is None:
        return arrays[_WHOLE] if arrays.keys() == {_WHOLE} else arrays
    import jax

    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    names = [_name(place) for place, _ in leaves]
    if set(names) != arrays.keys():
        raise InvalidInputError(
            f"{path}: x has {', '.join(sorted(arrays))}, which is not what is expected: "
            f"{', '.join(sorted(names))}"
        )
    return jax.tree_util.tree_unflatten(structure, [arrays[name] for name in names])


def _name(path: tuple) -> str:
    """The place of an array in a pytree: `pay`, `layers/0/weight`; `x` for x itself."""
    import jax

    return jax.tree_util.keystr(path, simple=True, separator="/") or _WHOLE
