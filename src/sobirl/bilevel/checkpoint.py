"""Checkpoints: the whole state of a run in one `.npz`, from which it goes on bit for bit."""

import io
import math
import operator
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from sobirl.bilevel.recorder import Records
from sobirl.core.errors import InvalidInputError
from sobirl.core.files import atomic_file

FORMAT = 1

_STATE, _RECORDS = "state", "records."


class Checkpoint:
    """A recorder that keeps a run in one file: `minimize(..., recorder=Checkpoint(path))`.

    The same call made again, after any end of the process, goes on where the file stops and
    returns bit for bit what an uninterrupted run returns. It must be the same call: what the file
    holds is checked against the problem's arrays, not against its functions.

    Args:
        path: the file, an `.npz`.
        seconds: the least time from one save to the next.
        fingerprint: of what is run; a file with another one is refused.
        time_limit: the seconds of steps after which the run ends; compilation does not count.
    """

    def __init__(
        self,
        path: Path | str,
        seconds: float | int = 10.0,
        fingerprint: str = "",
        time_limit: float = math.inf,
    ):
        self.path, self.seconds, self.fingerprint = Path(path), seconds, fingerprint
        self.time_limit = time_limit
        self._begin([])

    def restore(self, like: PyTree) -> tuple[PyTree, Records, float] | None:
        """What the file holds, or None if there is none; see `Recorder`.

        Raises:
            InvalidInputError: it is damaged or of another run, or its folder does not exist.
        """
        self._begin([])
        if not self.path.exists():
            if not self.path.parent.is_dir():
                raise InvalidInputError(f"{self.path}: there is no folder {self.path.parent}")
            return None
        state, records, seconds = load_checkpoint(self.path, like, self.fingerprint)
        self._begin([records])
        return state, records, seconds

    def record(self, state: PyTree, rows: Records, seconds: float) -> None:
        """Keep some steps, and save if the last time was long enough ago."""
        self._chunks.append(rows)
        self._last = state, seconds
        if time.monotonic() - self._saved_at >= self.seconds:
            self.save()

    def save(self) -> None:
        """Save what was recorded last."""
        if self._last is None:
            return
        state, seconds = self._last
        records = {
            name: np.concatenate([chunk[name] for chunk in self._chunks])
            for name in self._chunks[0]
        }
        save_checkpoint(self.path, state, records, seconds, self.fingerprint)
        self._begin([records])

    def _begin(self, chunks: list[Records]) -> None:
        """Nothing is recorded but these rows, which are saved."""
        self._chunks = chunks
        self._last: tuple[PyTree, float] | None = None
        self._saved_at = time.monotonic()


def save_checkpoint(
    path: Path, state: PyTree, records: Records, seconds: float, fingerprint: str = ""
) -> None:
    """Write the state, all rows so far and the seconds that they took, atomically.

    The arrays are named by their place in the state, for example `state.x`.
    """
    arrays: dict[str, Any] = {name: np.asarray(_raw(leaf)) for name, leaf in _named(state).items()}
    arrays |= {_RECORDS + name: rows for name, rows in records.items()}
    with atomic_file(path) as file:
        np.savez(file, format=FORMAT, seconds=seconds, fingerprint=fingerprint, **arrays)


def load_checkpoint(
    path: Path, like: PyTree, fingerprint: str = ""
) -> tuple[PyTree, Records, float]:
    """Read what `save_checkpoint` wrote.

    Args:
        path: the file.
        like: the run's state before its first step.
        fingerprint: what the file was saved with.

    Raises:
        InvalidInputError: the file is damaged, from a newer sobirl, or of another run.
    """
    arrays = read_checkpoint(path)
    if str(arrays["fingerprint"]) != fingerprint:
        raise InvalidInputError(
            f"{path}: is of a run with other options or inputs; put its config.json back, or "
            "remove the checkpoint to begin anew"
        )
    found = {name: array for name, array in arrays.items() if name.startswith(_STATE)}
    named = _named(like)
    if missing := named.keys() ^ found.keys():
        raise InvalidInputError(f"{path}: is not of this run (it differs in {min(missing)})")
    leaves = []
    for name, leaf in named.items():
        wanted, array = np.asarray(_raw(leaf)), found[name]
        if (array.shape, array.dtype) != (wanted.shape, wanted.dtype):
            raise InvalidInputError(
                f"{path}: is not of this run ({name} should be {wanted.dtype}{wanted.shape}, is "
                f"{array.dtype}{array.shape})"
            )
        leaves.append(_like(leaf, array))
    state = jax.tree.unflatten(jax.tree.structure(like), leaves)
    records = {
        name.removeprefix(_RECORDS): array
        for name, array in arrays.items()
        if name.startswith(_RECORDS)
    }
    steps = steps_in(arrays)
    if not records or any(array.shape[:1] != (steps,) for array in records.values()):
        raise InvalidInputError(f"{path}: is damaged (its rows are not those of {steps} steps)")
    return state, records, float(arrays["seconds"])


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a checkpoint by name.

    Raises:
        InvalidInputError: the file is damaged or from a newer sobirl.
    """
    content = path.read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
        number, _, _ = int(arrays["format"]), float(arrays["seconds"]), steps_in(arrays)
        _ = arrays["fingerprint"].item()
    except Exception as error:  # whatever zipfile, zlib and NumPy make of bytes that are no file
        raise InvalidInputError(
            f"{path}: is damaged or no checkpoint of sobirl; without it the run can only begin anew"
        ) from error
    if number > FORMAT:
        raise InvalidInputError(
            f"{path}: is from a newer sobirl (format {number}, this one reads up to {FORMAT}); "
            "upgrade sobirl"
        )
    return arrays


def steps_in(arrays: dict[str, np.ndarray]) -> int:
    """The number of steps that a checkpoint holds."""
    return operator.index(np.max(arrays["state.step"]))


def _named(state: PyTree) -> dict[str, jax.Array | np.ndarray]:
    """The leaves by their place in the state."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {_STATE + jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def _is_key(leaf: jax.Array | np.ndarray) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _raw(leaf: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
    """Numbers as they are, keys as the numbers that they are made of."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _like(leaf: jax.Array | np.ndarray, array: np.ndarray) -> jax.Array | np.ndarray:
    if _is_key(leaf):
        return jax.random.wrap_key_data(jax.numpy.asarray(array), impl=jax.random.key_impl(leaf))
    return array
