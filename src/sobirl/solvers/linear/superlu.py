"""The host's side of `SparseLU`: factors by the digest of what was factorized.

The compiled program knows factors by that digest alone. It is the same wherever and whenever the
same matrix is factorized; a process that does not have the factors (they were dropped, or the run
was resumed) makes them anew from the entries, which travel along. So nothing depends on this store.
"""

import collections
import hashlib
import threading
from typing import Any

import numpy as np

# Factors beyond this many bytes make room for newer ones, before these are made.
MEMORY = 2**30

_factors: collections.OrderedDict[bytes, Any] = collections.OrderedDict()
_lock = threading.Lock()


def factorize_on_host(entries, places) -> tuple[np.ndarray, np.ndarray]:
    """The name of the factors, and whether there are any: not of a singular matrix."""
    entries, places = np.asarray(entries), np.asarray(places)
    name = _name_of(entries, places)
    return np.frombuffer(name, np.uint32), np.array(_find(name, entries, places) is not None)


def recall_on_host(name, entries, places) -> np.ndarray:
    """The name, under which there are factors now: those found, or made anew."""
    name = np.asarray(name)
    _find(name.tobytes(), entries, places)
    return name


def substitute_on_host(name, b) -> np.ndarray:
    """x with A x = b."""
    return _substitute(name, b, "N")


def substitute_transposed_on_host(name, b) -> np.ndarray:
    """x with Aᵀ x = b."""
    return _substitute(name, b, "T")


def _substitute(name, b, kind) -> np.ndarray:
    b = np.asarray(b)
    factors = _factors.get(np.asarray(name).tobytes())
    if factors is None or not np.isfinite(b).all():
        return np.full_like(b, np.nan)
    return factors.solve(b.astype(np.float64), kind).astype(b.dtype)


def _find(name: bytes, entries, places):
    with _lock:
        if name in _factors:
            _factors.move_to_end(name)
            return _factors[name]
        _make_room()
        factors = _factorize(np.asarray(entries), np.asarray(places))
        if factors is not None:
            _factors[name] = factors
        return factors


def _make_room() -> None:
    """Drop the oldest factors until one more, as large as the last, stays within `MEMORY`."""
    sizes = [_size(factors) for factors in _factors.values()]
    while sizes and sum(sizes) + sizes[-1] > MEMORY:
        _factors.popitem(last=False)
        sizes.pop(0)


def _factorize(entries: np.ndarray, places: np.ndarray):
    """SuperLU's factors, or None where the matrix is singular or memory does not suffice."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import splu

    if not np.isfinite(entries).all():
        return None
    size = int(places.max()) + 1
    matrix = coo_matrix((entries.astype(np.float64), (places[:, 0], places[:, 1])), (size, size))
    try:
        # Minimum degree on AᵀA; on AᵀA's sum with its transpose the same matrices take minutes.
        return splu(matrix.tocsc(), permc_spec="COLAMD")
    except (RuntimeError, MemoryError):
        return None


def drop_all() -> None:
    """Forget all factors."""
    with _lock:
        _factors.clear()


def count() -> int:
    """How many factorizations are kept."""
    return len(_factors)


def _name_of(entries: np.ndarray, places: np.ndarray) -> bytes:
    """The digest of a matrix (16 bytes)."""
    digest = hashlib.blake2b(np.ascontiguousarray(entries).data, digest_size=16)
    digest.update(np.ascontiguousarray(places).data)
    return digest.digest()


def _size(factors) -> int:
    """Bytes of a factorization: an index and a number for each entry."""
    return 12 * factors.nnz
